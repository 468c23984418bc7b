"""Limits: what they mean, and that what is no limit is refused with the nearest word."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import InputError
from edgekit.limit import BYTES, NUMBER, SECONDS, SHARE, Limit, parse_limit

METRICS = {"p50": SECONDS, "p90": SECONDS, "peak": BYTES, "ratio": NUMBER, "argmax": SHARE}
ENDS = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=2).map(sorted)


@pytest.mark.parametrize(
    ("text", "metric", "side", "amount", "sort"),
    [
        ("p90>+5%", "p90", ">", 0.05, "share"),
        ("p90 > -10 %", "p90", ">", -0.1, "share"),
        ("p50>12ms", "p50", ">", 0.012, "value"),
        ("p50>+.5ms", "p50", ">", 0.0005, "difference"),
        ("peak>3MiB", "peak", ">", 3 * 2**20, "value"),
        ("ratio<1.05", "ratio", "<", 1.05, "value"),
        ("argmax<99%", "argmax", "<", 0.99, "value"),
    ],
)
def test_a_limit_is_read(text: str, metric: str, side: str, amount: float, sort: str) -> None:
    found = parse_limit(text, METRICS)
    assert (found.metric, found.side, found.sort, found.text) == (metric, side, sort, text)
    assert found.amount == pytest.approx(amount)


@pytest.mark.parametrize(
    ("text", "problem", "mend"),
    [
        ("p95>+5%", "'p95' is no metric", "did you mean 'p9"),
        ("pek>1MiB", "'pek' is no metric", "did you mean 'peak'?"),
        ("p90>5%", "per cent of what", "a sign: +5%"),
        ("p90>12", "unit of p90 is missing", "known: ns, us, ms, s"),
        ("p90>12Ms", "'Ms' is no unit of p90", "did you mean 'ms'?"),
        ("peak>3MB", "'MB' is no unit of peak", "known: B, KiB, MiB, GiB"),
        ("ratio>1.05x", "'x' is no unit of ratio", "known: none"),
        *(
            (text, "is no limit", "METRIC>AMOUNT")
            for text in ("", "p90", "p90>", ">5ms", "p90>=5ms", "p90>5ms6", "p90>1e3ms")
        ),
    ],
)
def test_what_is_no_limit_is_refused(text: str, problem: str, mend: str) -> None:
    with pytest.raises(InputError) as raised:
        parse_limit(text, METRICS)
    assert problem in raised.value.problem
    assert mend in raised.value.mend


@given(st.floats(-1e6, 1e6), st.sampled_from([">", "<"]), ENDS)
def test_only_a_whole_interval_beyond_the_amount_exceeds_it(amount: float, side: str, ends: list[float]) -> None:
    low, high = ends
    outcome = Limit("", "p50", side, amount, "value").judge(low, high)  # type: ignore[arg-type]
    beyond = [end > amount if side == ">" else end < amount for end in ends]
    assert outcome == {0: "kept", 1: "undecided", 2: "exceeded"}[sum(beyond)]


@given(ENDS, st.floats(-1e6, 1e6))
def test_turning_everything_round_gives_the_same_outcome(ends: list[float], amount: float) -> None:
    there = Limit("", "p50", ">", amount, "value").judge(*ends)
    back = Limit("", "p50", "<", -amount, "value").judge(-ends[1], -ends[0])
    assert there == back
