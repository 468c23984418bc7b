"""The style of all pages: text that can be read in light, dark and print, kinds that colour-blind people tell apart."""

from __future__ import annotations

import re
from itertools import combinations

import numpy as np
import pytest

from edgekit.report.template import css

SHEET = str(css())
BLOCKS = re.findall(r":root \{(.*?)\}", SHEET, re.S)
LIGHT, DARK, PRINT = (dict(re.findall(r"--([\w-]+): (#\w+)", block)) for block in BLOCKS)
THEMES = {"light": LIGHT, "dark": DARK, "print": {**LIGHT, **PRINT}}
TEXTS = [(text, ground) for text in ("ink", "quiet", "accent", "guess", "bad") for ground in ("paper", "card")]
TEXTS += [(kind, f"{kind}-soft") for kind in ("good", "warn", "bad")] + [("ink", "warn-soft"), ("ink", "code")]

# Machado, Oliveira and Fernandes 2009, at full severity, on linear RGB.
BLINDNESS = {
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
}


def linear(colour: str) -> np.ndarray:
    """Linear red, green and blue of `#rgb` or `#rrggbb`."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    values = np.array([int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    """Contrast ratio of WCAG 2."""
    low, high = sorted(float(linear(colour) @ [0.2126, 0.7152, 0.0722]) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", THEMES)
def test_text_can_be_read(theme: str) -> None:
    tokens = THEMES[theme]
    poor = {pair: contrast(tokens[pair[0]], tokens[pair[1]]) for pair in TEXTS}
    assert {pair: ratio for pair, ratio in poor.items() if ratio < 4.5} == {}


@pytest.mark.parametrize("theme", THEMES)
def test_marks_stand_out_from_the_paper(theme: str) -> None:
    tokens = THEMES[theme]
    assert all(contrast(tokens[mark], tokens["paper"]) >= 3 for mark in ("fill", "grey", "bad", "ink"))


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("blindness", BLINDNESS)
def test_kinds_of_marks_differ_for_colour_blind_people(theme: str, blindness: str) -> None:
    seen = {
        kind: np.clip(np.array(BLINDNESS[blindness]) @ linear(THEMES[theme][kind]), 0, 1) ** (1 / 2.2)
        for kind in ("fill", "grey", "bad")
    }
    assert all(np.abs(seen[one] - seen[other]).max() > 0.2 for one, other in combinations(seen, 2))


def test_every_theme_has_every_colour_and_no_colour_is_anywhere_else() -> None:
    assert len(BLOCKS) == 3
    assert LIGHT.keys() == DARK.keys() == PRINT.keys()
    rest = re.sub(r":root \{.*?\}", "", SHEET, flags=re.S)
    assert not re.findall(r"#[0-9a-f]{3,8}\b|\brgba?\(|\bhsla?\(", rest)
    assert set(re.findall(r"var\(--([\w-]+)", rest)) <= {*LIGHT, "sans", "mono", "small", "gap", "round", "mark"}


def test_print_is_white_and_unfolds_what_is_folded() -> None:
    sheet = SHEET[SHEET.index("@media print") :]
    assert PRINT["paper"] == PRINT["card"] == "#fff"
    assert re.search(r"details::details-content \{[^}]*content-visibility: visible", sheet)
    assert re.search(r"\.scroll \{ overflow: visible", sheet)
