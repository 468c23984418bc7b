"""Optuna, imported when it is needed, and without its talk."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from edgekit.errors import MissingDependency


def import_optuna() -> Any:
    """Optuna. Raises MissingDependency where it is not installed."""
    try:
        import optuna
    except ImportError as cause:
        raise MissingDependency("a search needs Optuna", "pip install 'edgekit[search]'") from cause
    return optuna


@contextmanager
def quiet() -> Iterator[None]:
    """Optuna without its talk: what it has to say is in the trials."""
    optuna = import_optuna()
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)
