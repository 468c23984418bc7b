"""Talk: what a long job says while it works."""

from __future__ import annotations

from collections.abc import Callable

Say = Callable[[str], None]


class Line(str):
    """A line worth keeping, such as the result of an epoch; any other may be replaced by the next one."""

    __slots__ = ()
