"""Writes docs/asyncapi.yaml and docs/schemas/, or says which of them are stale."""

import argparse
import json
import sys
from pathlib import Path

import yaml

from edge.contract import asyncapi, schemas
from edge.output import complain, put
from edge.vision.model_file import checkout

STALE = 1
_NOTE = "# Made by scripts/contract from the message types in edge/uplink. A change here is lost.\n"


class _Dumper(yaml.SafeDumper):
    """Writes every value out where it stands, and text of several lines as a block."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def files() -> dict[str, str]:
    """Return the text of every file, by its path in docs/."""
    made = {
        f"schemas/{name}.json": json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
        for name, schema in schemas.documents().items()
    }
    document = yaml.dump(asyncapi.document(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    return {"asyncapi.yaml": _NOTE + document, **made}


def stale(docs: Path) -> list[Path]:
    """Return the files that are missing, differ, or that nothing makes any more."""
    wanted = files()
    paths = {docs / name: text for name, text in wanted.items()}
    found = [path for path, text in paths.items() if not path.is_file() or path.read_text("utf-8") != text]
    return found + sorted(path for path in (docs / "schemas").glob("*.json") if path not in paths)


def main() -> int:
    """Run it; return its exit code: 1 where `--check` found a stale file."""
    parser = argparse.ArgumentParser(prog="scripts/contract", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if a file is stale")
    check = parser.parse_args().check
    docs = checkout() / "docs"
    behind = stale(docs)
    if check:
        for path in behind:
            complain(f"{path.relative_to(docs.parent)} is stale: run scripts/contract")
        return STALE if behind else 0
    (docs / "schemas").mkdir(exist_ok=True)
    made = files()
    for path in behind:
        name = path.relative_to(docs).as_posix()
        if name in made:
            path.write_text(made[name], "utf-8")
        else:
            path.unlink()
        put(f"{'wrote' if name in made else 'removed'} docs/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
