"""What ships inside the package: a policy, a commented unit.toml, the page's style sheet."""
