import pytest

from edgekit.units import format_bytes, format_count, format_seconds


@pytest.mark.parametrize(
    ("count", "text"),
    [(None, "-"), (0, "0 B"), (1023, "1023 B"), (1024, "1.00 KiB"), (1536, "1.50 KiB"), (10 << 20, "10.0 MiB"),
     (300 << 30, "300 GiB"), (5 << 40, "5120 GiB"), (-2048, "-2.00 KiB")],
)  # fmt: skip
def test_bytes(count: float | None, text: str) -> None:
    assert format_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (4.2e-4, "420 us"), (1e-9, "1.00 ns"), (0.9999, "1.00 s"), (0.0123, "12.3 ms"), (75, "75.0 s")],
)
def test_seconds(seconds: float | None, text: str) -> None:
    assert format_seconds(seconds) == text


@pytest.mark.parametrize(("count", "text"), [(0, "0"), (999, "999"), (1_234_567, "1.23 M"), (None, "-")])
def test_counts(count: float | None, text: str) -> None:
    assert format_count(count) == text
