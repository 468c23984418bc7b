"""Targets of the user's: where they are found, what a name means, and how one extends another."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import pytest
from click import Argument, Context
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings, strategies

from edgekit.cli import complete
from edgekit.cli.targets import command as targets_command
from edgekit.device.cache import cache_folder, writing
from edgekit.device.devices_file import load_devices
from edgekit.errors import OutputError, TargetError
from edgekit.target import TABLES, Target, load_target, target_names
from edgekit.target_files import TargetFile, extended, find, known

CHILD = 'extends = "raspberry-pi-4"\nname = "{name}"\ntitle = "A Pi of mine"\n'
SOURCE = "https://example.org/board"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder of targets, empty."""
    folder = tmp_path / "config" / "edgekit" / "targets"
    folder.mkdir(parents=True)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("EDGEKIT_TARGETS", raising=False)
    return folder


def written(folder: Path, name: str, more: str = "", stem: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{stem or name}.toml"
    path.write_text(CHILD.format(name=name) + more)
    return path


def listed(*words: str) -> str:
    result = CliRunner().invoke(targets_command, ["list", *words])
    assert result.exit_code == 0, result.exception
    return result.stdout


# Names and folders.


def test_a_target_in_the_folder_of_the_user_is_found_by_name(home: Path) -> None:
    path = written(home, "my-pi")
    assert load_target("my-pi") == load_target(path)
    assert find("my-pi") == TargetFile(path, "my-pi")
    (row,) = [line for line in listed().splitlines() if line.startswith("my-pi ")]
    assert row.endswith(str(path))


def test_folders_of_the_environment_are_looked_through(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path / "one", "pi-one")
    written(tmp_path / "two", "pi-two")
    written(home, "my-pi")
    monkeypatch.setenv("EDGEKIT_TARGETS", os.pathsep.join(["", str(tmp_path / "one"), str(tmp_path / "two")]))
    assert [load_target(name).name for name in ("pi-one", "pi-two", "my-pi", "host")] == [
        "pi-one",
        "pi-two",
        "my-pi",
        "host",
    ]


def test_the_shell_offers_them_too_and_never_an_error(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(home, "my-pi")

    def offered() -> list[str]:
        return [item.value for item in complete.targets(Context(targets_command), Argument(["name"]), "")]

    assert offered() == ["my-pi", *target_names()]
    monkeypatch.setenv("EDGEKIT_TARGETS", str(home / "none"))
    assert offered() == target_names()


def test_a_folder_of_the_environment_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_TARGETS", str(tmp_path / "none"))
    with pytest.raises(TargetError, match=r"EDGEKIT_TARGETS: .*none is not a folder"):
        load_target("host")


def test_without_a_folder_of_the_user_there_are_the_shipped_ones(home: Path) -> None:
    home.rmdir()
    assert [one["name"] for one in json.loads(listed("--json"))] == target_names()


def test_the_current_folder_is_not_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path / "targets", "my-pi")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TargetError, match="unknown target"):
        load_target("my-pi")


def test_a_name_that_is_misspelled_is_answered_from_all_folders(home: Path) -> None:
    written(home, "garden-gate")
    with pytest.raises(TargetError) as caught:
        load_target("garden-gat")
    assert caught.value.mend == "did you mean 'garden-gate'?"


def test_a_name_that_is_shipped_too_is_refused_with_both_places_and_a_path_goes(home: Path) -> None:
    path = written(home, "raspberry-pi-5")
    with pytest.raises(TargetError) as caught:
        load_target("raspberry-pi-5")
    assert f"{path} and " in caught.value.problem
    assert caught.value.problem.endswith(str(Path("targets") / "raspberry-pi-5.toml"))
    assert load_target(path).title == "A Pi of mine"
    assert load_target("raspberry-pi-4").name == "raspberry-pi-4"
    written(home, "cortex-m4")
    assert load_target("cortex-m7").extends == "cortex-m4"  # the shipped one, whatever the user has
    assert "raspberry-pi-5 is in more than one file" in listed()


def test_a_file_that_is_not_named_as_its_target_is_refused_where_names_count(home: Path) -> None:
    path = written(home, "other", stem="my-pi")
    with pytest.raises(TargetError, match=r"named_as_file: the file is my-pi\.toml, and its name is 'other'"):
        load_target("my-pi")
    assert load_target(path).name == "other"
    result = CliRunner().invoke(targets_command, ["validate", str(home)])
    assert f"broken  {path}" in result.stdout


def test_a_broken_file_is_listed_as_such_and_hides_no_other(home: Path) -> None:
    written(home, "my-pi", "color = 3\n")
    (home / ".my-pi.toml.toml").write_text("an editor's")
    (home / "README.md").write_text("not a target")
    found = {one["name"]: one for one in json.loads(listed("--json"))}
    assert found.keys() == {"my-pi", *target_names()}
    assert "unknown key 'color'" in found["my-pi"]["problem"]
    assert found["my-pi"]["target"] is None
    assert msgspec.convert(found["host"]["target"], Target) == load_target("host")
    assert "broken: my-pi: " in listed()


def test_a_folder_is_validated_file_by_file(home: Path, tmp_path: Path) -> None:
    good, bad = written(home, "pi-one"), written(home, "pi-two", "color = 3\n")
    result = CliRunner().invoke(targets_command, ["validate", str(home), "host"])
    assert f"ok      {good}" in result.stdout
    assert f"broken  {bad}" in result.stdout
    assert "ok      host" in result.stdout
    (tmp_path / "empty").mkdir()
    empty = CliRunner().invoke(targets_command, ["validate", str(tmp_path / "empty")])
    assert isinstance(empty.exception, TargetError)


# One target extends another.


@pytest.mark.parametrize("name", target_names())
def test_a_child_that_says_nothing_is_its_parent_with_every_source(name: str) -> None:
    parent = load_target(name)
    child = msgspec.convert(extended({"extends": name, "name": "my-board", "title": "Mine"}, parent), Target)
    assert child.claims() == parent.claims()
    assert (child.family, child.notes) == (parent.family, parent.notes)
    assert [child.source_of(claim) for claim, _ in child.claims()] == [parent.source_of(c) for c, _ in parent.claims()]


CLAIMS = sorted({claim for name in target_names() for claim, _ in load_target(name).claims()})


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(
    strategies.sampled_from(target_names()),
    strategies.sampled_from(target_names()),
    strategies.sets(strategies.sampled_from(CLAIMS)),
)
def test_what_is_said_is_of_the_child_and_all_else_of_the_parent(name: str, other: str, said: set[str]) -> None:
    """Any claims of another board, said over any board: each value comes with the source that goes with it."""
    parent, donor = load_target(name), load_target(other)
    taken = {claim: value for claim, value in donor.claims() if claim in said}
    child: dict[str, Any] = {"name": "mine", "title": "Mine", "sources": dict.fromkeys(taken, SOURCE)}
    for claim, value in taken.items():
        table, _, key = claim.partition(".")
        child.setdefault(table, {})[key] = msgspec.to_builtins(value)
    whole = msgspec.convert(extended(child, parent), Target)
    before = dict(parent.claims())
    assert dict(whole.claims()) == before | taken
    assert {claim: whole.source_of(claim) for claim, _ in whole.claims()} == {
        claim: SOURCE if claim in taken else parent.source_of(claim) for claim in before | taken
    }


def test_tables_merge_key_by_key_and_other_keys_as_a_whole(home: Path) -> None:
    more = f'notes = ["mine"]\n[memory]\nram_bytes = 8_589_934_592\n[sources]\n"memory.ram_bytes" = "{SOURCE}"\n'
    child, parent = load_target(written(home, "my-pi", more)), load_target("raspberry-pi-4")
    assert child.memory.ram_bytes == 8_589_934_592
    assert child.notes == ("mine",)
    assert (child.processor, child.numerics, child.family) == (parent.processor, parent.numerics, parent.family)
    assert child.extends == "raspberry-pi-4"


def test_a_source_of_a_table_stands_for_what_the_file_says_and_for_nothing_it_inherits(home: Path) -> None:
    more = f'[processor]\nclock_hz = 1_800_000_000\n[sources]\nprocessor = "{SOURCE}"\n'
    child, parent = load_target(written(home, "my-pi", more)), load_target("raspberry-pi-4")
    assert child.source_of("processor.clock_hz") == SOURCE
    assert child.source_of("processor.core") == parent.source_of("processor.core")


def test_a_value_said_again_keeps_its_source_or_takes_a_new_one(home: Path) -> None:
    again = "[processor]\ncores = 4\n"
    assert load_target(written(home, "my-pi", again)).source_of("processor.cores").startswith("https://www.rasp")
    sourced = again + f'[sources]\n"processor.cores" = "{SOURCE}"\n'
    assert load_target(written(home, "my-pi", sourced)).source_of("processor.cores") == SOURCE


def test_a_parent_by_path_is_taken_from_the_folder_of_the_file(home: Path, tmp_path: Path) -> None:
    whole = msgspec.to_builtins(load_target("cortex-m4"))
    (tmp_path / "base.toml").write_text(_toml({**whole, "name": "base"}))
    path = tmp_path / "child.toml"
    path.write_text('extends = "base.toml"\nname = "child"\ntitle = "Child"\n')
    assert load_target(path).claims() == load_target("cortex-m4").claims()
    named = written(home, "my-m4")
    named.write_text(f'extends = "{os.path.relpath(tmp_path / "base.toml", home)}"\nname = "my-m4"\ntitle = "Mine"\n')
    assert load_target("my-m4").claims() == load_target("cortex-m4").claims()


def test_a_loaded_child_is_written_and_read_back_the_same(home: Path) -> None:
    child = load_target(written(home, "my-pi"))
    assert msgspec.json.decode(msgspec.json.encode(child), type=Target) == child
    again = home / "again.toml"
    again.write_text(_toml(msgspec.to_builtins(child)))
    assert load_target(again) == child


def test_shipped_targets_may_be_extended_even_where_they_extend_one(home: Path) -> None:
    for name in target_names():
        path = written(home, "mine")
        path.write_text(path.read_text().replace("raspberry-pi-4", name))
        assert load_target(path).claims() == load_target(name).claims()


def test_shipped_targets_extend_whole_ones() -> None:
    for target in map(load_target, target_names()):
        assert target.extends is None or load_target(target.extends).extends is None


@pytest.mark.parametrize("name", [name for name in target_names() if load_target(name).extends])
def test_a_shipped_board_cites_its_own_processor_and_memory(name: str) -> None:
    target = load_target(name)
    parent = load_target(target.extends or "")
    shared = {"memory.accelerator_cache_bytes"}  # one Edge TPU is as another
    for claim, _ in target.claims():
        if claim.startswith(("processor.", "memory.")) and claim not in shared:
            assert target.source_of(claim) != parent.source_of(claim), claim


def test_the_schema_takes_a_file_that_extends_and_still_knows_its_keys() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(CliRunner().invoke(targets_command, ["schema"]).stdout)
    part = {"extends": "host", "name": "mine", "title": "Mine", "processor": {"cores": 2}}
    jsonschema.validate(part, schema)
    for wrong in ({**part, "colour": 1}, {**part, "memory": {"ram_byte": 1}}, {"name": "mine", "title": "Mine"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


def _toml(plain: dict[str, Any]) -> str:
    import tomli_w

    kept = {key: value for key, value in plain.items() if value is not None}
    for table in TABLES:
        kept[table] = {key: value for key, value in kept[table].items() if value is not None}
    return tomli_w.dumps(kept)


@pytest.mark.parametrize("closed", [True, False])
def test_a_user_without_a_home_has_the_shipped_targets(closed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be a folder that this user may not enter, as root's in a container; or there is none at all."""

    def refused(*_: object) -> NoReturn:
        raise PermissionError(13, "Permission denied") if closed else KeyError("getpwuid(): uid not found: 4242")

    places = ["XDG_CONFIG_HOME", "XDG_CACHE_HOME", "EDGEKIT_TARGETS", "EDGEKIT_DEVICES"]
    for name in places if closed else [*places, "HOME"]:
        monkeypatch.delenv(name, raising=False)
    for place in ("pathlib.Path.is_dir", "pathlib.Path.exists") if closed else ("pwd.getpwuid",):
        monkeypatch.setattr(place, refused)
    assert "cortex-m4" in {file.name for file in known()}
    assert load_devices() == {}
    assert cache_folder().name == "edgekit"
    if not closed:
        with pytest.raises(OutputError, match="no home folder"), writing(cache_folder()):
            pass
        assert not Path("~").exists()
