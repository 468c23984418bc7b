"""What the site has beside the files of docs/: pages of other folders, and a reference made from the code."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

import messages
import reference_commands
import reference_dependencies
import reference_keys
import reference_python
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent.parent
_EXAMPLES = sorted(ROOT.glob("examples/*/README.md"))
BORROWED = {
    "benchmarks/README.md": "measured/method.md",
    "targets/README.md": "reference/own-target.md",
    "SECURITY.md": "security.md",
    **{f"examples/{path.parent.name}/README.md": f"examples/{path.parent.name}.md" for path in _EXAMPLES},
    **{
        f"benchmarks/results/{path.name}": f"measured/{path.name}"
        for path in sorted(ROOT.glob("benchmarks/results/*.md"))
    },
}
MADE = {
    "reference/commands.md": reference_commands.page,
    "reference/python.md": reference_python.page,
    "reference/recipe.md": reference_keys.recipe_page,
    "reference/target.md": reference_keys.target_page,
    "reference/messages.md": messages.page,
    "reference/dependencies.md": reference_dependencies.page,
}
_NUMBER = re.compile(r"(?<=[\d±]) (?=[±%\d]|[KMG]?i?B\b|[KM]\b|[num]?s\b)")
_LINK = re.compile(r"\]\((?![a-z]+:|#)([^)#\s]+)")


def on_config(config: Any) -> Any:
    """A page of results that the navigation does not name comes last there, under its own title."""
    (measured,) = (section["Measured"] for section in config.nav if "Measured" in section)
    named = {place for entry in measured for place in entry.values()}
    measured += [place for place in BORROWED.values() if place.startswith("measured/") and place not in named]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are not in docs/."""
    texts = {place: (ROOT / path).read_text(encoding="utf-8") for path, place in BORROWED.items()}
    texts |= {place: make() for place, make in MADE.items()}
    for place, text in texts.items():
        files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Links lead where a file of the repository is on the site, and no number in a table parts from its unit."""
    here = page.file.src_uri
    home = next((path for path, place in BORROWED.items() if place == here), f"docs/{here}")
    moved = _LINK.sub(lambda link: f"]({_moved(link[1], home, here)}", markdown)
    return "\n".join(_NUMBER.sub("\u00a0", line) if line.startswith("| ") else line for line in moved.split("\n"))


def _moved(link: str, home: str, here: str) -> str:
    """The link from a page of the site that in the repository leads from `home` to a file."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(home), link))
    place = BORROWED.get(path, path.removeprefix("docs/"))
    return posixpath.relpath(place, posixpath.dirname(here))
