"""The part of the data that chooses: the validation part, or a share of the training part where there is none."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from edgekit.data.parts import strata
from edgekit.data.split import carve
from edgekit.dataset import Dataset
from edgekit.errors import DataError

_SHARE = 0.2
_FEWEST = 20


def with_validation(data: Dataset) -> tuple[Dataset, tuple[str, ...]]:
    """The data with a validation part, and what should be known about it.

    Raises DataError where there is none and no training part to take it from.
    """
    if data.validation is not None and len(data.validation):
        return data, ()
    if data.train is None or len(data.train) < 2 * _FEWEST:
        raise DataError(
            "a search chooses by a validation part, and the data has neither one nor training samples to take it from",
            "give x_validation and y_validation (docs/data.md), or more training samples",
        )
    train, count = data.train, len(data.train)
    found = carve(strata(train.labels, count), None, {"validation": max(_FEWEST, round(_SHARE * count))}, 0)
    parts = {name: replace(train.select(places), name=name) for name, places in found.items()}
    digest = hashlib.sha256(f"{data.fingerprint} validation of {len(parts['validation'])}".encode()).hexdigest()
    warning = (
        f"no validation part: {len(parts['validation'])} of {count} training samples choose; if the model was trained "
        "on them, it looks better on them than it is, and losses look larger"
    )
    return replace(data, fingerprint=digest, train=parts["train"], validation=parts["validation"]), (warning,)
