"""What commands print with `--json`, held against the types that are frozen: in every test that runs one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from typing import Any


def wrong(words: Sequence[str], text: str) -> str:
    """What does not fit in the JSON that `edgekit WORDS...` printed; empty where all does."""
    from jsonschema import Draft202012Validator

    schemas = _schemas(tuple(words))
    value = json.loads(text)
    faults = [[*Draft202012Validator(schema).iter_errors(value)] for schema in schemas]
    if not schemas:
        return f"edgekit {' '.join(words)}: what it prints has no type in frozen_json.PRINTED"
    if all(faults):
        least = min(faults, key=len)[0]
        return f"edgekit {' '.join(words)}: {least.json_path}: {least.message[:300]}"
    return ""


@cache
def _schemas(words: tuple[str, ...]) -> list[dict[str, Any]]:
    """Of what the command may print, by its options; nothing may be there that is not said."""
    from frozen_json import PRINTED, components

    named = [(_command(name), kind) for name, kind in PRINTED.items()]
    fitting = [kind for name, kind in named if words[: len(name)] == name]
    fitting = fitting or [kind for name, kind in named if (words[0], "list") == name]
    kinds, definitions = components(fitting)
    closed = {name: _closed(schema) for name, schema in definitions.items()}
    return [{**schema, "$defs": closed} for schema in kinds]


def _command(name: str) -> tuple[str, ...]:
    """`doctor MODEL --repair` is the command `doctor`."""
    return tuple(word for word in name.split(" -")[0].split() if word.islower())


def _closed(schema: dict[str, Any]) -> dict[str, Any]:
    return {**schema, "additionalProperties": False} if "properties" in schema else schema
