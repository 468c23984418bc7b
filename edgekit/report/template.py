"""The pages' templates and their style, filled in safely: text is escaped, a missing name is an error."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template
from markupsafe import Markup

from edgekit.report import words
from edgekit.units import format_count

_ADDRESS = re.compile(r"(https?://[^\s<>\"]*[^\s<>\".,:;)])")


@cache
def template(name: str) -> Template:
    """A template of this folder, with the filters for numbers."""
    environment = Environment(
        loader=FunctionLoader(_text), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"bytes": words.size, "seconds": words.seconds, "count": format_count}
    environment.filters["capital"] = words.capital
    environment.globals |= {"words": words, "link": _link}
    return environment.get_template(name)


def css() -> Markup:
    """The style of all pages."""
    return Markup(_text("report.css"))


def _link(source: str) -> Markup:
    """A source as text, with its addresses as links."""
    anchor, parts = Markup('<a href="{0}" rel="noreferrer">{0}</a>'), _ADDRESS.split(source)
    return Markup("").join(anchor.format(part) if index % 2 else part for index, part in enumerate(parts))


def _text(name: str) -> str:
    return (resources.files("edgekit.report") / name).read_text(encoding="utf-8")
