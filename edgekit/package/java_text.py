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
    }
)
"""Words that no part of a Java package is (JLS 3.9)."""
_KOTLIN = frozenset({"as", "fun", "in", "is", "object", "typealias", "typeof", "val", "var", "when"})
"""Words that Kotlin quotes in a package, such as in.example: fine where a user asks for them."""
_PART = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def identifier(words: str) -> str:
    """The nearest name for a folder of assets, a module of Gradle and, as it is or in camel case, in Java: ASCII.

    >>> identifier("android-arm64/int8"), identifier("2d"), identifier("when")
    ('android_arm64_int8', 'model_2d', 'when_model')
    """
    name = re.sub(r"[^A-Za-z0-9]+", "_", words).strip("_")
    name = f"model_{name}".rstrip("_") if not name or name[0].isdigit() else name
    return f"{name}_model" if name.lower() in _RESERVED | _KOTLIN else name


def package_fault(name: str) -> str:
    """Why this is no Java package that can be an Android namespace too; empty if it is one.

    >>> package_fault("in.example.digits"), package_fault("digits"), package_fault("org.new")
    ('', 'it has one part', "'new' is a word of Java")
    """
    parts = name.split(".")
    if len(parts) < 2:
        return "it has one part"
    if parts[0] == "java":
        return "java is kept for Java itself"
    for part in parts:
        if part in _RESERVED:
            return f"{part!r} is a word of Java"
        if not _PART.fullmatch(part):
            return f"{part!r} is not made of ASCII letters, digits and _, a letter first"
    return ""


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
