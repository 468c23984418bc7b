"""Names on a chart, each at the nearest free place to its point, so that no two lie on each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from edgekit.report.axes import digits

LETTER, LINE = 6.6, 13.0
_LONGEST = 26

Box = tuple[float, float, float, float]
Spot = tuple[float, float]


@dataclass(frozen=True)
class Place:
    """A box (left, top, right, bottom) where a text may go, and the end of the text that is near its point."""

    box: Box
    anchor: str
    leader: bool = False


def place(text: str, spot: Spot, frame: Box, taken: list[Box], avoided: Sequence[Box] = ()) -> Place | None:
    """The nearest place within `frame` that touches nothing `taken`, which it then joins; None where all is full.

    What is only `avoided` is crossed where there is no other way.
    """
    found = first_free(_around(text, spot), frame, [*taken, *avoided]) or first_free(_around(text, spot), frame, taken)
    taken += [found.box] if found else []
    return found


def first_free(places: Iterable[Place], frame: Box, taken: Sequence[Box]) -> Place | None:
    """The first place within `frame` that touches nothing `taken`."""
    return next(
        (found for found in places if _within(found.box, frame) and not any(_overlap(found.box, b) for b in taken)),
        None,
    )


def _around(text: str, spot: Spot) -> Iterator[Place]:
    """Right, left, above, below; then the same farther away and aslant."""
    x, y = spot
    width = text_width(text)
    for distance in (9.0, 20.0, 32.0, 46.0, 62.0):
        far = distance > 9
        for shift in (0.0, -0.8 * distance, 0.8 * distance) if far else (0.0,):
            top, bottom = y + shift - LINE / 2, y + shift + LINE / 2
            yield Place((x + distance, top, x + distance + width, bottom), "start", far)
            yield Place((x - distance - width, top, x - distance, bottom), "end", far)
        yield Place((x - width / 2, y - distance - LINE, x + width / 2, y - distance), "middle", far)
        yield Place((x - width / 2, y + distance, x + width / 2, y + distance + LINE), "middle", far)


def draw(text: str, kind: str, found: Place, spot: Spot) -> Markup:
    """The text at its place, with a thin line to its point where that is not beside it."""
    left, top, right, bottom = found.box
    x = {"start": left, "end": right, "middle": (left + right) / 2}[found.anchor]
    words = Markup('<text class="name {}" x="{}" y="{}" text-anchor="{}">{}</text>').format(
        kind, digits(x), digits(bottom - 3), found.anchor, clip(text, _LONGEST)
    )
    if not found.leader:
        return words
    ends = (*spot, min(max(spot[0], left), right), min(max(spot[1], top), bottom))
    return Markup('<line class="leader" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(*map(digits, ends)) + words


def text_width(text: str) -> float:
    """Room that a text takes at most, in user units."""
    return len(clip(text, _LONGEST)) * LETTER


def beside(words: str, width: float) -> int:
    """How many letters of a name there is room for on a line of `width` that ends with these words."""
    return max(8, min(_LONGEST, int((width - 6.4 * len(words) - 10) / LETTER)))


def clip(text: str, letters: int) -> str:
    """The text, or its ends around an ellipsis where it is longer than `letters`."""
    if len(text) <= letters:
        return text
    tail = (letters - 1) // 3
    return f"{text[: letters - 1 - tail]}…{text[-tail:] if tail else ''}"


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _within(box: Box, frame: Box) -> bool:
    return box[0] >= frame[0] and box[1] >= frame[1] and box[2] <= frame[2] and box[3] <= frame[3]
