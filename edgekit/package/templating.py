"""Templates of packages, filled with facts: a fact that is missing is an error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined


def filled(template: str, facts: Mapping[str, Any], filters: Mapping[str, Callable[..., str]] | None = None) -> bytes:
    """A template of `edgekit/package/templates`, as UTF-8."""
    environment = Environment(
        loader=FunctionLoader(_text),
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= filters or {}
    text: str = environment.get_template(template).render(facts)
    return text.encode()


def _text(name: str) -> str:
    return (resources.files("edgekit.package") / "templates" / name).read_text(encoding="utf-8")
