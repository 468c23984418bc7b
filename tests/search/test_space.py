"""The space: phrases that are recipes, presets among them, and reasons for what is left out."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.dataset import Dataset, load_for
from edgekit.errors import RecipeError
from edgekit.gate import Gate
from edgekit.model import Model, load_model
from edgekit.phrase import PRESETS
from edgekit.recipe import Recipe
from edgekit.search.budget import Budget
from edgekit.search.space import Choices, Space, epochs_of
from edgekit.stages.distill import Distill
from edgekit.stages.student import narrowed
from edgekit.target import load_target, target_names

HOST = load_target("host")


@pytest.fixture(scope="module")
def subject(digits: Path) -> tuple[Model, Dataset]:
    model = load_model(digits / "digits.keras")
    return model, load_for(model.inputs, model.outputs, digits / "digits.npz")


@pytest.fixture(scope="module")
def space(subject: tuple[Model, Dataset]) -> Space:
    return Space.of(*subject, HOST, Budget(Gate(0.01), max_download=50_000))


def test_everything_in_it_is_a_recipe_that_says_what_was_decided(space: Space) -> None:
    for number, taken in enumerate(space.everything(100_000)):
        if number % 297 == 0:
            recipe = Recipe.parse(space.phrase(taken)).resolve(HOST)
            assert recipe.quantize.scheme == taken["format"]
            assert bool(recipe.quantize_aware) == bool(taken.get("qat"))
            assert recipe.quantize.calibration == taken.get("calibration", "minmax")
            smaller = (
                space.students[int(taken["smaller"])] if taken["shrink"] == "student" else taken["shrink"] != "none"
            )
            assert bool(recipe.compression) == bool(smaller or taken.get("zeros") or taken.get("values"))


def test_siblings_are_one_network_in_every_format_that_takes_no_training(space: Space) -> None:
    taken = space.decisions_of("channels50-qat-int8")
    assert taken is not None
    found = [space.phrase(one) for one in space.siblings(taken)]
    assert {"channels50-float32", "channels50-float16", "channels50-dynamic-int8", "channels50-int8"} <= set(found)
    assert len(set(found)) == len(found)
    for phrase in found:
        recipe = Recipe.parse(phrase).resolve(HOST)
        assert recipe.compression == Recipe.parse("channels50-float32").resolve(HOST).compression
        assert recipe.quantize_aware is None
    plain = space.decisions_of("int8")
    assert plain is not None
    assert space.siblings(plain) == []


def test_shares_are_halved_between_what_was_kept_and_what_was_refused(space: Space) -> None:
    taken = space.decisions_of("channels50-int8")
    assert taken is not None
    kept, refused, tried = {50}, {75}, []
    while found := space.between(taken, kept, refused):
        tried.append(int(found["smaller"]))
        (kept if found["smaller"] < 70 else refused).add(int(found["smaller"]))
        assert found == {**taken, "smaller": found["smaller"]}
    assert tried == [60, 65, 70]
    assert space.between(taken, {75}, {50}) == {**taken, "smaller": 85}, (
        "50 was over a budget; nothing is beyond 75 yet"
    )
    assert space.between(taken, {90}, ()) is None
    assert space.between(taken, (), {50}) is None


def test_more_epochs_are_for_what_was_made_smaller_and_are_kept_by_what_is_made_of_it(space: Space) -> None:
    taken, plain = space.decisions_of("channels50-int8"), space.decisions_of("int8")
    assert taken is not None
    assert plain is not None
    (longer,) = space.longer(taken)
    assert space.phrase(longer) == "channels50-int8:epochs=3x"
    assert space.longer(longer) == [longer]
    assert space.longer(plain) == []
    made = [*space.siblings(longer), *space.siblings(longer, qat=True), space.between(longer, {50}, {75})]
    assert all(one and "epochs=3x" in space.phrase(one) for one in made)
    assert all(("epochs" in one) == (one["shrink"] != "none") for one in space.neighbours(longer))
    assert not any("epochs" in one for one in (*space.neighbours(taken), *space.everything(1000)))


def test_the_next_learning_rates_are_a_higher_and_a_lower_one(space: Space) -> None:
    taken, plain = space.decisions_of("channels50-int8"), space.decisions_of("int8")
    assert taken is not None
    assert plain is not None
    ways = space.rates(taken)
    assert [*map(space.phrase, ways)] == ["channels50-int8:rate=3x", "channels50-int8:rate=0.3x"]
    assert [space.rates(one) for one in ways] == [[taken], [taken]]
    assert space.rates(plain) == []
    (longer,) = space.longer(ways[0])
    assert space.phrase(longer) == "channels50-int8:epochs=3x,rate=3x"
    made = [*space.siblings(ways[0]), *space.siblings(ways[0], qat=True)]
    assert all("rate=3x" in space.phrase(one) for one in made)
    assert {one.get("rate") for one in space.neighbours(ways[0])} == {"3x", None}
    assert space.phrase(ways[0] | {"shrink": "student", "smaller": 10}) == "int8"  # as wide as the network: not trained


def test_whoever_says_the_epochs_gets_no_more(subject: tuple[Model, Dataset]) -> None:
    space = Space.of(*subject, HOST, epochs=2)
    taken = space.decisions_of("channels50-int8")
    assert taken is not None
    assert space.longer(taken) == []


def test_siblings_that_are_trained_as_integers_are_asked_for_apart(space: Space) -> None:
    taken, plain = space.decisions_of("channels50-int8"), space.decisions_of("float32")
    assert taken is not None
    assert plain is not None
    found = [space.phrase(one) for one in space.siblings(taken, qat=True)]
    assert found == ["channels50-qat-int8", "channels50-qat-int8:per-tensor"]
    assert [space.phrase(one) for one in space.siblings(taken | {"qat": True}, qat=True)] == found[1:]
    assert [space.phrase(one) for one in space.siblings(plain, qat=True)] == ["qat-int8", "qat-int8:per-tensor"]
    assert space.siblings({}, qat=True) == []  # a preset whose decisions the space has not


def test_a_neighbour_decides_one_thing_otherwise(space: Space) -> None:
    taken = space.decisions_of("channels50-int8")
    assert taken is not None
    found = {space.phrase(one) for one in space.neighbours(taken)}
    assert {"channels45-int8", "channels55-int8", "channels50-qat-int8", "channels50-int8:by-sensitivity"} <= found
    assert {"int8", "channels50-float16", "channels50-int8:calibration=mse"} <= found
    assert space.phrase(taken | {"shrink": "student"}) in found
    assert not found & {"channels50-int8", "channels40-int8", "channels60-int8"}
    lowest = taken | {"smaller": 10}
    assert "channels15-int8" in {space.phrase(one) for one in space.neighbours(lowest)}


def test_no_two_ways_to_decide_share_a_phrase_but_those_that_make_one_student(space: Space) -> None:
    def plainly(taken: Choices) -> Choices:
        share = space.students[int(taken["smaller"])] if taken["shrink"] == "student" else taken.get("smaller", 0)
        return taken | ({"smaller": share} if share else {"shrink": "none", "smaller": 0, "rate": "1x"})

    ways = [*space.everything(100_000)]
    made = {tuple(sorted(plainly(taken).items())) for taken in ways}
    assert len({space.phrase(taken) for taken in ways}) == len(made) < len(ways)


def test_students_of_equal_widths_are_one_and_those_as_wide_as_the_network_none(
    space: Space, subject: tuple[Model, Dataset]
) -> None:
    network = subject[0].keras

    def shapes(phrase: str) -> tuple[tuple[int, ...], ...]:
        width = re.fullmatch(r"(?:student(\d+)-)?int8", phrase)
        assert width
        if not width[1]:
            return tuple(tuple(weight.shape) for weight in network.weights)
        [stage] = Recipe.parse(phrase).resolve(HOST).compression
        assert isinstance(stage, Distill)
        assert stage.width is not None
        student = narrowed(network, stage.width, multiple=stage.multiple)
        return tuple(tuple(weight.shape) for weight in student.weights)

    shares = range(10, 95, 5)
    named = [space.phrase({"format": "int8", "shrink": "student", "smaller": share}) for share in shares]
    made = [shapes(f"student{round(100 * (1 - share / 100) ** 0.5)}-int8") for share in shares]
    assert [shapes(phrase) for phrase in named] == made
    assert len(set(named)) == len(set(made)) < len(shares)


def test_every_preset_that_can_pay_on_the_target_is_a_start_and_the_cheapest_comes_first(
    space: Space, subject: tuple[Model, Dataset]
) -> None:
    starts = space.starts(HOST)
    plain = Space.of(*subject, HOST, Budget(Gate(0.01))).starts(HOST)
    archive = ("cluster16-int8", "prune50-int8", "prune50-qat-int8")
    assert [phrase for phrase, _ in starts if phrase not in dict(plain)] == [one for one, _ in starts if one in archive]
    assert any(taken is not None for _, taken in starts)
    made = [Recipe.parse(phrase).resolve(HOST).stages for phrase, _ in starts]
    assert [name for name in PRESETS if Recipe.parse(name).resolve(HOST).stages not in made] == ["int16x8"]
    epochs = [epochs_of(Recipe.parse(phrase)) for phrase, _ in starts]
    assert epochs == sorted(epochs)
    for phrase, taken in starts:
        assert taken is None or space.phrase(taken) == phrase


def test_sixteen_bits_are_for_chips_that_have_kernels_of_them(space: Space, subject: tuple[Model, Dataset]) -> None:
    assert "XNNPACK" in space.left_out["int16x8"]
    assert "int16x8" in Space.of(*subject, load_target("cortex-m4"), Budget(Gate(0.01))).decisions[0].values


def test_presets_have_the_epochs_of_the_search(subject: tuple[Model, Dataset]) -> None:
    space = Space.of(*subject, HOST, Budget(Gate(0.01)), epochs=3)
    starts = dict(space.starts(HOST))
    assert not [phrase for phrase in starts if phrase.startswith("prune")]
    assert starts["channels50-int8:epochs=3"] is not None
    assert starts["int8"] is not None


def test_a_student_of_a_share_has_about_that_share_fewer_multiply_accumulates(space: Space) -> None:
    assert space.phrase({"format": "int8", "shrink": "student", "smaller": 75}) == "student50-int8"
    taken = {"format": "int8", "shrink": "channels", "smaller": 30, "allocation": "sensitivity", "calibration": "mse"}
    assert space.phrase(taken) == "channels30-int8:calibration=mse,by-sensitivity"


def test_what_cannot_pay_or_does_not_fit_is_left_out_with_the_reason(subject: tuple[Model, Dataset]) -> None:
    model, data = subject
    found = Space.of(model, replace(data, train=None), HOST)
    assert [one.name for one in found.decisions if one.name in ("shrink", "qat", "zeros")] == []
    assert found.left_out["training"] == "the data has no training part"
    plain = Space.of(model, data, HOST)
    assert plain.left_out["drop"] == "no addition joins a branch with its own source"
    assert "--max-download" in plain.left_out["cluster"]
    coral = Space.of(model, data, load_target("coral-usb"))
    assert coral.left_out["float32"] == "coral-usb does not run it"


def test_a_space_of_one_recipe_is_an_error_that_says_why(subject: tuple[Model, Dataset]) -> None:
    model, data = subject
    formats = HOST.numerics.__class__(schemes=("float32",), recommended="float32")
    lone = HOST.__class__(**{name: getattr(HOST, name) for name in HOST.__struct_fields__} | {"numerics": formats})
    with pytest.raises(RecipeError, match=r"nothing to search for 'digits' .*no training: the data has no training"):
        Space.of(model, replace(data, train=None), lone)


@pytest.mark.slow
@pytest.mark.parametrize("name", target_names())
def test_every_target_has_a_space(name: str, subject: tuple[Model, Dataset]) -> None:
    target = load_target(name)
    space = Space.of(*subject, target)
    assert space.starts(target)
    for taken in list(space.everything(10_000))[::501]:
        Recipe.parse(space.phrase(taken)).resolve(target)
