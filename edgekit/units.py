"""Numbers as people read them. Inside edgekit everything is bytes, seconds and counts; only the rim formats."""

from __future__ import annotations

import re


def format_bytes(count: float | None) -> str:
    """`1536` -> `1.5 KiB`; `None` -> `-`."""
    if count is None:
        return "-"
    value, sign = abs(float(count)), "-" if count < 0 else ""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            break
        value /= 1024
    return f"{sign}{value:.0f} B" if unit == "B" else f"{sign}{value:.{_decimals(value)}f} {unit}"


def format_seconds(seconds: float | None) -> str:
    """`0.00042` -> `420 us`; `None` -> `-`."""
    if seconds is None:
        return "-"
    for scale, unit in ((1e-9, "ns"), (1e-6, "us"), (1e-3, "ms")):
        value = seconds / scale
        if abs(value) < 999.5:
            return f"{value:.{_decimals(value)}f} {unit}"
    return f"{seconds:.{_decimals(seconds)}f} s"


def format_joules(joules: float | None) -> str:
    """`0.00042` -> `420 uJ`; `None` -> `-`."""
    return "-" if joules is None else format_seconds(joules)[:-1] + "J"


def format_count(count: float | None) -> str:
    """`1234567` -> `1.23 M`; `None` -> `-`."""
    if count is None:
        return "-"
    value = float(count)
    for unit in ("", " K", " M", " G"):
        if abs(value) < 999.5 or unit == " G":
            break
        value /= 1000
    return f"{value:.0f}" if unit == "" else f"{value:.{_decimals(value)}f}{unit}"


def _decimals(value: float) -> int:
    """Decimals that leave three significant digits."""
    return 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0


_SIZE = re.compile(r"(\d+(?:\.\d*)?)\s*(B|K|KiB|M|MiB|G|GiB)?", re.IGNORECASE)


def parse_bytes(text: str) -> int:
    """`256K`, `256 KiB` -> 262144; `1000` -> 1000. K, M and G are powers of 1024. Raises ValueError for other text."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no size; write 65536, 64K or 64KiB")
    power = " KMG".index((found[2] or " ")[0].upper().replace("B", " "))
    return round(float(found[1]) * 1024.0**power)


_PARTS = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(us|ms|s|sec|min|m|h|d)", re.IGNORECASE)
_LONG = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "sec": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_seconds(text: str) -> float:
    """`10ms` -> 0.01, `2h` -> 7200, `1h30m` -> 5400. Raises ValueError for other text, and for no time at all."""
    words = text.strip()
    parts = _PARTS.findall(words)
    if not parts or _PARTS.sub("", words).strip():
        raise ValueError(f"{text!r} is no time; write 10ms, 90s, 30m or 1h30m")
    seconds = sum(float(number) * _LONG[unit.lower()] for number, unit in parts)
    if not seconds:
        raise ValueError(f"{text!r} is no time at all")
    return seconds
