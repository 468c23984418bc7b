"""What users depend on is as it was frozen: nothing gone, nothing of another kind, nothing new that must be given."""

from __future__ import annotations

from importlib.metadata import version

import click
import frozen
import frozen_commands
import frozen_json
import pytest
from frozen import Facts, broken, from_text, to_text

MEND = """

    Somebody's script, build or parser stops working by that. Keep the old way for a while, as CONTRIBUTING.md says
    under "What users depend on"; or, where it was meant and the changelog says it:

        {command}
"""


@pytest.mark.parametrize("name", frozen.NAMES)
def test_nothing_that_users_depend_on_is_gone_or_other(name: str) -> None:
    _, before = from_text((frozen.FOLDER / f"{name}.txt").read_text())
    lost = broken(before, frozen.now(name))
    assert not lost, "\n    ".join(["", *lost]) + MEND.format(command=frozen.COMMAND)


@pytest.mark.parametrize("name", frozen.NAMES)
def test_each_release_freezes_what_came_since_the_last(name: str) -> None:
    release, before = from_text((frozen.FOLDER / f"{name}.txt").read_text())
    if release != version("edgekit"):
        new = sorted(set(frozen.now(name)) - set(before))
        pytest.fail(f"frozen for {release}, this is {version('edgekit')}: {frozen.COMMAND} adds {len(new)} lines")


FACTS: Facts = {
    "edgekit.infer()": "gives Inference",
    "edgekit.infer(model)": "required, place 0: Path",
    "edgekit infer": "command",
    "edgekit infer --threads": "optional integer, default 1",
    "edgekit infer --runtime=auto": "may be given",
    "data.toml": "DataSpec",
    "DataSpec.task": "string",
    "DataSpec": "object, no other keys",
}


@pytest.mark.parametrize("key", FACTS)
def test_what_is_removed_or_changed_is_said_in_words(key: str) -> None:
    assert broken(FACTS, {one: fact for one, fact in FACTS.items() if one != key}) == [
        f"{key} is gone (it was: {FACTS[key]})"
    ]
    assert broken(FACTS, FACTS | {key: "other"}) == [f"{key} was: {FACTS[key]}; it is: other"]


@pytest.mark.parametrize("key", ["edgekit.infer(plan)", "edgekit infer --data", "edgekit infer 2.", "DataSpec.license"])
def test_what_is_added_breaks_nothing_unless_it_must_be_given(key: str) -> None:
    assert broken(FACTS, FACTS | {key: "optional text"}) == []
    assert broken(FACTS, FACTS | {key: "required text"}) == [f"{key} is new, and has to be given (required text)"]


def test_a_new_command_may_have_required_options() -> None:
    assert broken(FACTS, FACTS | {"edgekit tune": "command", "edgekit tune --data": "required text"}) == []


@pytest.mark.parametrize("name", frozen.NAMES)
def test_the_text_is_read_back(name: str) -> None:
    assert from_text(to_text(frozen.now(name), "1.2.3")) == ("1.2.3", frozen.now(name))


def test_every_command_with_json_has_its_type_here() -> None:
    """What it prints is held against that type wherever a test runs it: conftest.py."""
    known = [name.split(" -")[0].removesuffix(" MODEL") for name in frozen_json.PRINTED]
    found = [key.removesuffix(" --json") for key, _ in frozen_commands.facts() if key.endswith(" --json")]
    assert sorted({f"edgekit {name}" for name in known}) == sorted(set(found))


def test_a_group_that_runs_alone_prints_what_its_list_does() -> None:
    from edgekit.cli import cli

    context = click.Context(cli)
    groups = [cli.get_command(context, name) for name in cli.list_commands(context)]
    alone = [one.name for one in groups if isinstance(one, click.Group) and one.invoke_without_command]
    assert {f"{name} list" for name in alone} <= set(frozen_json.PRINTED)
