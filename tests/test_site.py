"""The documentation site: it builds strictly, links and anchors lead somewhere, the reference leaves nothing out."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import msgspec
import pytest

import edgekit
from edgekit.cli import cli
from edgekit.recipe import Recipe
from edgekit.target import Target, target_names

pytest.importorskip("material", reason="mkdocs-material is not installed")
ROOT = Path(__file__).parent.parent
OF_ANDROID = {"--manifest", "--target-sdk-version", "--ks", "--ks-pass", "--min-sdk-version"}
OF_OTHERS = {"--build", "--help", "--save", "--toolchain"} | OF_ANDROID


@pytest.fixture(scope="session")
def site(once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """The built site; a link or anchor that leads nowhere ends the build."""

    def make(folder: Path) -> None:
        command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    return once("site", make)


def text(site: Path, page: str) -> str:
    """What a page says, without its tags."""
    return html.unescape(re.sub(r"<[^>]+>", "", (site / f"{page}.html").read_text()))


def _leaves(command: click.Command, name: str) -> list[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        return [(name, command)]
    context = click.Context(command)
    children = [(child, command.get_command(context, child)) for child in command.list_commands(context)]
    return [leaf for child, one in children if one for leaf in _leaves(one, f"{name} {child}")]


def test_every_command_and_option_is_in_the_reference(site: Path) -> None:
    said = text(site, "reference/commands")
    for name, command in _leaves(cli, "edgekit"):
        assert name in said
        for option in (word for one in command.params if isinstance(one, click.Option) for word in one.opts):
            assert option in said, f"{name} {option}"


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    page = (site / "reference" / "python.html").read_text()
    assert set(edgekit.__all__) <= set(re.findall(r'id="(\w+)"', page))


@pytest.mark.parametrize(("page", "kind"), [("recipe", Recipe), ("target", Target)])
def test_every_key_is_in_the_reference(site: Path, page: str, kind: type) -> None:
    rows = set(re.findall(r"<tr>\s*<td><code>([\w-]+)</code>", (site / "reference" / f"{page}.html").read_text()))
    for definition in msgspec.json.schema(kind)["$defs"].values():
        assert set(definition.get("properties", ())) - {"stage"} <= rows
    assert page != "target" or set(target_names()) <= rows


def test_what_is_said_through_a_variable_and_every_finding_has_an_anchor(site: Path) -> None:
    page = (site / "reference" / "messages.html").read_text()
    for code in ("flex-operator", "dynamic-shape", "calibration-preprocessing", "unsound-scales"):
        assert f'id="{code}"' in page
    assert "no name in" in page  # `what` of edgekit/device/devices_file.py


def test_every_kind_of_error_has_messages_with_anchors(site: Path) -> None:
    page = (site / "reference" / "messages.html").read_text()
    anchors = re.findall(r'<span id="([a-z0-9-]+)">', page)
    assert len(anchors) == len(set(anchors)) > 500
    for kind in (
        "ModelError",
        "DataError",
        "RecipeError",
        "TargetError",
        "DeviceError",
        "MissingDependency",
        "Usage",
        "Settings",
    ):
        assert f">{kind}<" in page


def test_every_command_and_option_that_the_pages_tell_exists() -> None:
    leaves = _leaves(cli, "edgekit")
    options = {word for _, command in leaves for one in command.params for word in one.opts}
    commands = {name.split()[1] for name, _ in leaves}
    written = [*ROOT.glob("docs/tutorials/*.md"), *ROOT.glob("docs/how-to/*.md")]
    written += [ROOT / "docs" / name for name in ("index.md", "devices.md", "troubleshooting.md")]
    for path in written:
        page = path.read_text()
        told = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", page))
        assert told - options <= OF_OTHERS, path
        assert set(re.findall(r"`edgekit ([a-z]+)", page)) <= commands, path


def test_the_glossary_is_in_order() -> None:
    words = re.findall(r"^(\S.*)\n:   ", (ROOT / "docs" / "glossary.md").read_text(), re.MULTILINE)
    assert words == sorted(set(words), key=str.lower)
    assert len(words) > 30


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    for path in site.rglob("*.html"):
        loaded = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(https?:)?//', path.read_text())
        assert not loaded, path


def test_a_link_that_leads_nowhere_ends_the_build(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("[nowhere](other.md) [no anchor](#missing)\n")
    config = re.sub(
        r"^(hooks|nav|exclude_docs|extra_css):.*?(?=^\w|\Z)", "", (ROOT / "mkdocs.yml").read_text(), flags=re.M | re.S
    )
    (tmp_path / "mkdocs.yml").write_text(config)
    command = [sys.executable, "-m", "mkdocs", "build"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "other.md" in done.stderr
    assert "#missing" in done.stderr
