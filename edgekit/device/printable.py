"""Text of a device, made safe to print."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text without what could drive a terminal; line ends stay."""
    return "".join(sign if sign.isprintable() or sign == "\n" else " " for sign in text)
