"""Python values as Swift source, and names that may stand there."""

from __future__ import annotations

import math
import re

# Keywords that begin with a capital, and modules of the system that a module of this name would hide.
_TAKEN = frozenset(
    {
        *("Any", "Protocol", "Self", "Type", "Swift", "Foundation", "Dispatch", "Darwin", "Glibc", "ObjectiveC"),
        *("XCTest", "Testing", "CryptoKit", "Metal", "CoreML", "Vision", "UIKit", "AppKit", "SwiftUI", "Combine"),
        *("Accelerate", "CoreGraphics", "CoreImage", "CoreVideo", "AVFoundation", "Security", "System", "Network"),
        *("TensorFlowLite", "TFLTensorFlowLite", "TensorFlowLiteC", "LiteRT", "CLiteRT", "PackageDescription"),
    }
)
_ESCAPED = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def module_name(words: str) -> str:
    """The nearest name of a module: ASCII, each word with a capital, and no name of the language or the system.

    >>> module_name("mobilenet-v2 int8"), module_name("2nd"), module_name("self"), module_name("形")
    ('MobilenetV2Int8', 'Model2nd', 'SelfModel', 'Model')
    """
    name = "".join(word[0].upper() + word[1:] for word in re.findall(r"[A-Za-z0-9]+", words))
    name = name if name[:1].isalpha() else f"Model{name}"
    return f"{name}Model" if name in _TAKEN else name


def string(text: str) -> str:
    r"""A string literal; what is not printable ASCII as a code point, so that nothing is interpolated or hidden.

    >>> string('a"b\\(c)é')
    '"a\\"b\\\\(c)\\u{E9}"'
    """
    return '"' + "".join(_character(sign) for sign in text) + '"'


def comment(text: str) -> str:
    """A text that may stand in a comment of one line: printable ASCII."""
    return "".join(sign if " " <= sign <= "~" else "?" for sign in text)


def number(value: float) -> str:
    """A literal of a float32.

    >>> number(1.0), number(0.1), number(-1e-10)
    ('1.0', '0.100000001', '-1e-10')
    """
    if not math.isfinite(value):
        raise ValueError(f"{value} has no literal")
    digits = f"{value:.9g}"
    return digits if {"e", "."} & {*digits} else f"{digits}.0"


def _character(sign: str) -> str:
    if sign in _ESCAPED:
        return _ESCAPED[sign]
    if " " <= sign <= "~":
        return sign
    return f"\\u{{{ord(sign):X}}}" if not "\ud800" <= sign <= "\udfff" else "\\u{FFFD}"
