"""Names that a package for Linux goes by: of a Python module, and of a Debian package."""

from __future__ import annotations

import keyword
import re
import sys

from edgekit.errors import InputError

_MODULES = frozenset(
    {
        *sys.stdlib_module_names,
        *(
            "distutils",
            "imp",
            "asynchat",
            "asyncore",
            "smtpd",
            "tomllib",
            "compression",
            "annotationlib",
        ),  # other Pythons'
        *("numpy", "pil", "ai_edge_litert", "tflite_runtime", "tflite", "pip", "setuptools", "test", "tests"),
    }
)
"""What the runner or its surroundings import: a folder of this name would be imported in its place."""

_PACKAGES = frozenset(
    {
        *("base-files", "base-passwd", "bash", "bsdutils", "coreutils", "dash", "debianutils", "diffutils", "dpkg"),
        *("findutils", "grep", "gzip", "hostname", "init-system-helpers", "libc-bin", "login", "mount", "ncurses-base"),
        *("ncurses-bin", "perl-base", "sed", "sysvinit-utils", "tar", "util-linux"),  # Essential: yes
        *("apt", "init", "libc6", "openssh-server", "python3-minimal", "python3", "systemd", "udev"),
    }
)
"""Packages that ours would replace; a system without them does not start, or is not reached."""


def module_name(words: str) -> str:
    """The nearest name of a Python module: `Keyword Spotting` becomes `keyword_spotting`.

    Raises InputError where nothing is left of it, or where it is the name of a module that it would hide.
    """
    name = re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")
    name = f"model_{name}" if name[:1].isdigit() else name
    if len(name) < 2:
        raise InputError(f"{words!r} has too few letters for a name", "give another one with --name, of a-z and 0-9")
    if name in _MODULES or keyword.iskeyword(name) or keyword.issoftkeyword(name):
        raise InputError(f"{name!r} is taken in Python", f"give another name: --name {name}_model")
    return name


def package_name(module: str) -> str:
    """The Debian package of a module. Raises InputError for one that belongs to the system."""
    name = module.replace("_", "-")
    if name in _PACKAGES:
        raise InputError(f"{name!r} is a package of the system", f"give another name: --name {module}_model")
    return name
