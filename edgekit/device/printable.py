"""Text of a device, made safe to print."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text without what could drive a terminal; line ends stay."""
    return "".join(sign if sign.isprintable() or sign == "\n" else " " for sign in text)


def last_line(said: str) -> str:
    """The last line that says something: ssh frames what matters with `@`."""
    lines = [line.strip() for line in printable(said).splitlines() if line.strip(" @")]
    return lines[-1] if lines else ""
