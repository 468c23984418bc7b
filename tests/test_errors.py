"""Errors: what the mend of an unknown word names."""

from __future__ import annotations

from edgekit.errors import did_you_mean


def test_an_unknown_word_names_the_nearest_or_the_first_of_those_that_are_known() -> None:
    assert did_you_mean("kerel", ["bias", "kernel"]) == "did you mean 'kernel'?"
    assert did_you_mean("zzz", ["b", "a"]) == "known: a, b"
    assert did_you_mean("zzz", [f"w{number:02}" for number in range(25)]).endswith("w18, w19 and 5 more")
    assert did_you_mean("zzz", []) == ""
