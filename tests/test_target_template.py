"""`edgekit targets new`: what it writes is refused until it is filled in, and a target then."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgekit import strict_toml
from edgekit.cli.targets import command as targets_command
from edgekit.errors import GateError, OutputError, TargetError
from edgekit.target import TABLES, Target, load_target, target_names
from edgekit.target_template import keys

FILLED = {
    "title": '"My board"',
    "family": '"microcontroller"',
    "core": '"Cortex-M33"',
    "architecture": '"armv8-m"',
    "packages": '["tflite-micro"]',
    "schemes": '["int8", "float32"]',
    "recommended": '"int8"',
    "table": '"tflite-micro"',
}
ADDRESS = '"https://example.org/data-sheet"'


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, and no targets of the user's."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("EDGEKIT_TARGETS", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def new(*words: str) -> Path:
    result = CliRunner().invoke(targets_command, ["new", *words])
    if result.exception:
        raise result.exception
    return Path(result.stdout.strip())


EMPTY = re.compile(r'^(\w+) = (?:""|\[\])$', re.MULTILINE)


def filled(text: str, count: int = 0) -> str:
    """The template with its first `count` empty values given, or all."""
    return EMPTY.sub(lambda found: f"{found[1]} = {FILLED.get(found[1], ADDRESS)}", text, count)


def uncommented(text: str, *names: str) -> str:
    for name in names:
        text, count = re.subn(rf"^# ({re.escape(name)} = )", r"\1", text, flags=re.M)
        assert count == 1, name
    return text


def test_a_filled_template_is_a_target(here: Path) -> None:
    path = new("my-board")
    assert path == Path("my-board.toml")
    path.write_text(filled(path.read_text()))
    result = CliRunner().invoke(targets_command, ["validate", str(path)])
    assert result.exit_code == 0, result.stdout
    target = load_target(path)
    assert (target.name, target.title, target.processor.architecture) == ("my-board", "My board", "armv8-m")
    assert target.memory.ram_bytes is None


def test_until_then_every_empty_value_is_refused_one_after_the_other(here: Path) -> None:
    path = new("my-board")
    text, faults = path.read_text(), []
    while True:
        result = CliRunner().invoke(targets_command, ["validate", str(path)])
        if not result.exception:
            break
        assert isinstance(result.exception, GateError)
        faults.append(result.stdout)
        text = filled(text, 1)
        path.write_text(text)
    assert len(faults) == len(FILLED) + 4  # and four sources
    assert len(set(faults)) == len(faults)


def test_what_is_uncommented_counts(here: Path) -> None:
    path = new("my-board")
    text = uncommented(filled(path.read_text()), "ram_bytes", "flash_bytes", "cores", "io", "static_shapes", "engine")
    path.write_text(text)
    with pytest.raises(TargetError, match=r"no source for memory\.ram_bytes"):
        load_target(path)
    path.write_text(uncommented(text, "memory").replace('memory = ""', f"memory = {ADDRESS}"))
    target = load_target(path)
    assert (target.memory.ram_bytes, target.processor.cores) == (262_144, 4)


def test_every_line_that_is_commented_out_is_what_may_stand_there(here: Path) -> None:
    """Uncommented all at once they contradict each other, but each is of the right kind."""
    text = re.sub(r"^# (\w+ = )", r"\1", filled(new("my-board").read_text()), flags=re.M)
    whole = strict_toml.loads(text.replace('extends = "raspberry-pi-4"\n', ""), Target, TargetError)
    assert all(getattr(getattr(whole, table), key) is not None for table, key in _keys_of_tables())


def _keys_of_tables() -> list[tuple[str, str]]:
    return [(table, key) for table, kind in TABLES.items() for key in kind.__struct_fields__]


def test_every_key_stands_in_it_with_its_meaning(here: Path) -> None:
    text = new("my-board").read_text()
    words = re.sub(r"\n# ", " ", text)
    for kind in (Target, *TABLES.values()):
        for key in keys(kind):  # type: ignore[arg-type]
            assert re.search(rf"^(# )?{key.name} = |^\[{key.name}\]$", text, re.M), key.name
            assert key.told in words, key.name


@pytest.mark.parametrize("name", target_names())
def test_a_variation_of_every_target_needs_its_title_only(name: str, here: Path) -> None:
    path = new("mine", "--extends", name)
    with pytest.raises(TargetError, match="title"):
        load_target(path)
    path.write_text(path.read_text().replace('title = ""', 'title = "Mine"'))
    assert load_target(path).claims() == load_target(name).claims()
    assert load_target(path).notes == (), "those of another board"


def test_a_variation_shows_the_values_of_the_other(here: Path) -> None:
    text = new("my-pi", "--extends", "raspberry-pi-5").read_text()
    assert "\n# clock_hz = 2_400_000_000\n" in text
    assert "\n# ram_bytes = 1_073_741_824\n" in text
    assert "schemes" not in text
    changed = uncommented(filled(text).replace("1_073_741_824", "8_589_934_592"), "ram_bytes")
    Path("my-pi.toml").write_text(changed)
    with pytest.raises(TargetError, match=r"no source for memory\.ram_bytes, which differs from 'raspberry-pi-5'"):
        load_target("my-pi.toml")
    Path("my-pi.toml").write_text(uncommented(changed, "memory").replace('memory = ""', f"memory = {ADDRESS}"))
    assert load_target("my-pi.toml").memory.ram_bytes == 8_589_934_592


def test_a_variation_of_a_file_finds_it_from_wherever_it_is_put(here: Path) -> None:
    base = new("base")
    base.write_text(filled(base.read_text()))
    (here / "boards").mkdir()
    path = new("mine", "--extends", "base.toml", "-o", "boards/mine.toml")
    assert 'extends = "../base.toml"' in path.read_text()
    path.write_text(path.read_text().replace('title = ""', 'title = "Mine"'))
    assert load_target(path).claims() == load_target(base).claims()


def test_nothing_is_overwritten_unless_asked(here: Path) -> None:
    path = new("my-board")
    path.write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        new("my-board")
    assert path.read_text() == "mine"
    assert new("my-board", "--force").read_text().startswith("# Fill in")


def test_a_file_in_the_folder_of_the_user_is_found_by_name_and_may_be_replaced(here: Path) -> None:
    path = here / "config" / "edgekit" / "targets" / "my-pi.toml"
    words = ("my-pi", "--extends", "raspberry-pi-4", "-o", str(path))
    assert new(*words) == path
    with pytest.raises(TargetError, match="'my-pi' exists already"):
        new("my-pi")
    path.write_text(filled(new(*words, "--force").read_text()))
    assert load_target("my-pi").extends == "raspberry-pi-4"


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["My Board"], "'My Board' is no name for a target"),
        (["host"], "target 'host' exists already"),
        (["mine", "--extends", "hst"], "unknown target 'hst'"),
        (["mine", "--extends", "none.toml"], "no file"),
        (["mine", "-o", "mine.json"], "a target is a .toml file"),
    ],
)
def test_what_cannot_be_is_told_and_nothing_is_written(words: list[str], problem: str, here: Path) -> None:
    with pytest.raises((TargetError, OutputError), match=re.escape(problem)):
        new(*words)
    assert not list(here.iterdir())
