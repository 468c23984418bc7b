"""Networks that the doctor's tests share."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import patients
import pytest

Once = Callable[[str, Callable[[Path], None]], Path]


class Sound:
    """Sound networks by name, each trained when it is asked for."""

    def __init__(self, make: Callable[[str], patients.Net]) -> None:
        self._make = cache(make)

    def __getitem__(self, name: str) -> patients.Net:
        return self._make(name)


@pytest.fixture(scope="session")
def sound(once: Once, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Sound:
    folder = tmp_path_factory.mktemp("doctor")

    def made(name: str) -> patients.Net:
        if name == "digits":
            return patients.Net(request.getfixturevalue("float_file"), patients.digits_arrays(), folder)
        make, arrays = {
            "branched": (patients.branched, patients.digits_arrays),
            "measuring": (patients.measuring, lambda: patients.measures(patients.digits_arrays())),
        }[name]
        return patients.net(once, make, arrays(), folder)

    return Sound(made)
