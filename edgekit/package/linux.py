"""A package for a Linux board: a .deb and a .tar with the model, golden vectors, and a program that runs them.

    from edgekit.package.build import package_model

    package_model(["result/raspberry-pi-4/int8"], Path("out"), kind="linux", name="digits", licence="MIT")

On the board `python3 -m digits selftest`, `run` and `info` need Python 3.9, numpy and a TFLite runtime.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from edgekit.package.build import Kind
from edgekit.package.linux_files import linux_files


class LinuxOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """What a package for Linux may be asked for."""

    form: Annotated[Literal["both", "deb", "tar"], Meta(description="Which archives to make.")] = "both"
    maintainer: Annotated[str, Meta(description="Who answers for the .deb: `Name <address>`.")] = (
        "the maker of this model <nobody@maintainer.invalid>"
    )


KIND = Kind(linux_files, units=("edgetpu", "cpu"), options=LinuxOptions)
