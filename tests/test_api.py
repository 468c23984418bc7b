import importlib

import pytest

import edgekit


@pytest.mark.parametrize("name", edgekit.__all__)
def test_every_exported_name_is_there_and_typed(name: str) -> None:
    home = importlib.import_module(f"edgekit.{edgekit._HOME[name]}")
    assert getattr(edgekit, name) is getattr(home, name)


def test_exports_are_one_list() -> None:
    assert sorted(edgekit._HOME) == sorted(edgekit.__all__)
    assert set(edgekit.__all__) <= set(dir(edgekit))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="optimise"):
        _ = edgekit.optimise
