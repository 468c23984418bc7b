"""C text: names that C allows, literals that give the value back, resolver methods for every operator of the table."""

from __future__ import annotations

import doctest
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.operators import load_table
from edgekit.package import c_text, folder
from edgekit.package.micro_operators import _registration


@pytest.mark.parametrize("module", [c_text, folder])
def test_the_examples_are_true(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


@given(st.text())
def test_every_text_becomes_a_name_that_stays(words: str) -> None:
    name = c_text.identifier(words)
    assert re.fullmatch(r"[A-Za-z]+(_?[A-Za-z0-9]+)*", name)
    assert c_text.identifier(name) == name


@pytest.mark.parametrize(
    ("words", "name"),
    [("my model", "my_model"), ("3x3", "model_3x3"), ("__a__", "a"), ("", "model"), ("math", "math_model")],
)
def test_names(words: str, name: str) -> None:
    assert c_text.identifier(words) == name


@pytest.mark.parametrize("words", ["features", "Sched", "newlib"])
def test_a_header_of_a_host_is_not_hidden(words: str) -> None:
    assert c_text.identifier(words) == f"{words}_model"


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_float_literal_is_the_float32(value: float) -> None:
    assert np.float32(float(c_text.number(value).removesuffix("f"))) == np.float32(value)


@given(st.text())
def test_a_comment_cannot_end_itself(words: str) -> None:
    said = c_text.comment(words)
    assert said.isascii()
    assert not re.search(r"\*/|/\*|\n", said)


@given(st.text())
def test_a_string_is_its_bytes(words: str) -> None:
    literal = c_text.string(words)
    assert "?" not in literal
    assert re.fullmatch(r'"([ !#-\[\]-~]|\\["\\]|\\[0-7]{3})*"', literal)
    plain = re.sub(r'\\([0-7]{3}|["\\])', lambda m: chr(int(m[1], 8)) if m[1][0].isdigit() else m[1], literal[1:-1])
    assert plain.encode("latin-1") == words.encode()


def test_the_methods_of_the_resolver() -> None:
    """Irregular ones as the header has them; and one for every operator, no two alike."""
    table = load_table("tflite-micro")
    methods = [_registration(name, False).method for name in table.operators]
    methods += [_registration(name, True).method for name in table.custom]
    assert len({*methods}) == len(methods)
    assert {"AddConv2D", "AddMaxPool2D", "AddRelu6", "AddPadV2", "AddBatchMatMul", "AddCumSum"} <= {*methods}
    assert {"AddUnidirectionalSequenceLSTM", "AddL2Pool2D", "AddSvdf", "AddSignalDelay"} - {*methods} == {
        "AddSignalDelay"
    }
