import pytest

from edgekit.errors import DataError
from edgekit.gate import Gate


@pytest.mark.parametrize(
    ("text", "drop"), [("1%", 0.01), ("0.01", 0.01), (0.01, 0.01), (5e-5, 5e-5), (".5%", 0.005), ("0", 0.0)]
)
def test_a_drop_is_a_number_or_a_percentage(text: str | float, drop: float) -> None:
    assert Gate.parse(text).max_drop == pytest.approx(drop)


@pytest.mark.parametrize("text", ["abc", "-1", "1 %%", "", "nan", "1e-3x"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="no greatest drop"):
        Gate.parse(text)


def test_a_bound_has_to_go_with_the_metric() -> None:
    Gate.parse("1%").check("accuracy")
    Gate.parse("0.5").check("mae")
    with pytest.raises(DataError, match="unit of mae"):
        Gate.parse("1%").check("mae")
    with pytest.raises(DataError, match="write --max-drop 2%"):
        Gate.parse("2").check("top-5")
    with pytest.raises(DataError, match="labelled data"):
        Gate.parse("1%").check(None)
