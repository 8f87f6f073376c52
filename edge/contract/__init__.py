"""The contract for people and tools: JSON Schemas and an AsyncAPI document, made from the message types.

`python -m edge.contract` writes them to `docs/`; `--check` says which of them are stale.
"""
