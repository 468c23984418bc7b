"""Networks that the doctor's tests share."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import nets
import pytest

Once = Callable[[str, Callable[[Path], None]], Path]


class Sound:
    """Sound networks by name, each trained when it is asked for."""

    def __init__(self, make: Callable[[str], nets.Net]) -> None:
        self._make = cache(make)

    def __getitem__(self, name: str) -> nets.Net:
        return self._make(name)


@pytest.fixture(scope="session")
def sound(once: Once, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Sound:
    folder = tmp_path_factory.mktemp("doctor")

    def made(name: str) -> nets.Net:
        if name == "digits":
            return nets.Net(request.getfixturevalue("float_file"), nets.digits_arrays(), folder)
        make, arrays = {
            "branched": (nets.branched, nets.digits_arrays),
            "measuring": (nets.measuring, nets.measures),
        }[name]
        return nets.net(once, make, arrays(), folder)

    return Sound(made)
