"""The pages of the keys of recipe and target files, from their JSON schemas."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from marks import cell, code, table

from edgekit.recipe import Recipe
from edgekit.stages.train import Training
from edgekit.target import TABLES, Target, load_target, target_names

_HEAD = ("key", "type", "default", "meaning")
Schema = dict[str, Any]


def recipe_page() -> str:
    """Keys of a recipe, of its stages, and of the tables in them."""
    kinds = _definitions(Recipe)
    stages = [name for name, one in kinds.items() if "stage" in one["properties"]]
    others = [name for name in kinds if name not in (*stages, "Recipe", Training.__name__)]
    parts = [
        "# Keys of a recipe",
        "A recipe is a TOML file, or a phrase for one: `edgekit recipes show channels50-int8` writes it out, "
        "and `edgekit recipes schema` prints this page for the completion of an editor. An unknown key is an error. "
        "What each stage does is told in [how-to pages](../how-to/index.md).",
        _keys(kinds["Recipe"]),
        *(
            part
            for name in stages
            for part in (f"## `[[stages]]` {_tag(kinds[name])} {{ #{name.lower()} }}", _described(kinds[name]))
        ),
        "## `training` of a stage { #training }",
        _described(kinds[Training.__name__]),
        *(part for name in others for part in (f"## {name} {{ #{name.lower()} }}", _described(kinds[name]))),
    ]
    return "\n\n".join(parts) + "\n"


def target_page() -> str:
    """The targets that are shipped, and the keys of a target file."""
    kinds = _definitions(Target)
    parts = [
        "# Targets",
        "`edgekit targets show NAME` prints every fact with its source. [A board of your own](own-target.md) is a file "
        "with these keys, or one that extends a target below.",
        _shipped(),
        "## Keys",
        _keys(kinds["Target"]),
    ]
    for name, kind in TABLES.items():
        parts += [f"## `[{name}]`", _described(kinds[kind.__name__])]
    return "\n\n".join(parts) + "\n"


def _shipped() -> str:
    """One row a target: what it is, and the recipe that it gets where none is named."""
    rows = []
    for one in map(load_target, target_names()):
        units = ", ".join((*one.runtime.packages, *one.runtime.delegates))
        rows.append(
            (code(one.name), cell(one.title), cell(one.processor.core), cell(units), code(one.numerics.recommended))
        )
    return table(("name", "board", "cores", "runtimes and delegates", "recipe"), rows)


def _definitions(kind: type) -> dict[str, Schema]:
    definitions: dict[str, Schema] = msgspec.json.schema(kind)["$defs"]
    return {name: one for name, one in definitions.items() if "properties" in one}


def _tag(kind: Schema) -> str:
    return f"`{kind['properties']['stage']['enum'][0]}`"


def _described(kind: Schema) -> str:
    return f"{cell(kind.get('description', ''))}\n\n{_keys(kind)}"


def _keys(kind: Schema) -> str:
    needed = set(kind.get("required", ()))
    fields = ((name, field) for name, field in kind["properties"].items() if name != "stage")
    return table(
        _HEAD, ([code(name), _type(field), _default(field, name in needed), _meaning(field)] for name, field in fields)
    )


def _default(field: Schema, needed: bool) -> str:
    if needed:
        return "needed"
    return code(json.dumps(field["default"])) if field.get("default") not in (None, {}, []) else ""


def _meaning(field: Schema) -> str:
    return cell(next((one["description"] for one in (field, *field.get("anyOf", ())) if "description" in one), ""))


def _type(field: Schema) -> str:
    """The type in words: its choices, its bounds, or the table that it is."""
    if "anyOf" in field:
        return " or ".join(_type(one) for one in field["anyOf"] if one.get("type") != "null")
    if "$ref" in field or "allOf" in field:
        name = field.get("$ref", field.get("allOf", [{}])[0].get("$ref", "")).rpartition("/")[2]
        return f"[table {name}](#{'training' if name == Training.__name__ else name.lower()})"
    if "enum" in field:
        return ", ".join(code(json.dumps(one)) for one in field["enum"])
    if field.get("type") == "array":
        return f"list of {_type(field['items'])}" if field.get("items") else "list"
    return f"{field.get('type', 'any')}{_bounds(field)}"


_SIGNS = {"minimum": "≥", "exclusiveMinimum": "&gt;", "maximum": "≤", "exclusiveMaximum": "&lt;"}


def _bounds(field: Schema) -> str:
    said = [f"{sign} {field[word]}" for word, sign in _SIGNS.items() if word in field]
    return f" {', '.join(said)}" if said else ""
