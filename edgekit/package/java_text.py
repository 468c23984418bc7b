"""Python values as Java source: names, literals, and texts that may stand in a comment."""

from __future__ import annotations

import re

import numpy as np

from edgekit.package import c_text

_RESERVED = frozenset(
    {
        *("_", "abstract", "assert", "boolean", "break", "byte", "case", "catch", "char", "class", "const", "continue"),
        *("default", "do", "double", "else", "enum", "extends", "false", "final", "finally", "float", "for", "goto"),
        *("if", "implements", "import", "instanceof", "int", "interface", "long", "native", "new", "null", "package"),
        *("private", "protected", "public", "return", "short", "static", "strictfp", "super", "switch", "synchronized"),
        *("this", "throw", "throws", "transient", "true", "try", "void", "volatile", "while"),
        *("as", "fun", "in", "is", "object", "typealias", "typeof", "val", "var", "when"),
    }
)
"""Words that no part of a Java package is, and Kotlin's, which would need quotes there (JLS 3.9; Kotlin grammar)."""
_PART = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def reserved(word: str) -> bool:
    """Whether Java or Kotlin keep this word for themselves."""
    return word in _RESERVED


def is_package(name: str) -> bool:
    """Whether this is a Java package that can be an Android namespace too: two parts or more, ASCII, no keyword.

    >>> is_package("org.example.digits"), is_package("digits"), is_package("org.2d"), is_package("java.digits")
    (True, False, False, False)
    """
    parts = name.split(".")
    legal = all(_PART.fullmatch(part) and not reserved(part) for part in parts)
    return legal and len(parts) > 1 and parts[0] != "java"


def class_name(identifier: str) -> str:
    """An identifier as the beginning of the names of classes.

    >>> class_name("keyword_int8"), class_name("resNet_50")
    ('KeywordInt8', 'ResNet50')
    """
    return "".join(part[:1].upper() + part[1:] for part in identifier.split("_"))


def string(text: str) -> str:
    r"""A string literal, ASCII.

    >>> string('a"ü')
    '"a\\"\\u00fc"'
    """
    units = np.frombuffer(text.encode("utf-16-le", "surrogatepass"), "<u2").tolist()
    return '"' + "".join(_character(unit) for unit in units) + '"'


def number(value: float) -> str:
    """A float literal that is read back as exactly this float32.

    >>> number(1 / 255), number(3.0), number(1e-10)
    ('0.003921569f', '3.0f', '1e-10f')
    """
    return f"{np.float32(value)!s}f"


def comment(text: str) -> str:
    """A text that may stand in a comment, where a backslash could begin a character."""
    return c_text.comment(text).replace("\\", "/")


def markdown(text: str) -> str:
    """A text as code in a table of Markdown."""
    return "`" + comment(text).replace("`", "'").replace("|", "/") + "`"


def _character(unit: int) -> str:
    sign = chr(unit)
    if sign in '"\\':
        return f"\\{sign}"
    return sign if " " <= sign <= "~" else f"\\u{unit:04x}"
