"""Freezing: layers that a training leaves as they are, weights and normalization statistics, by patterns of names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

from msgspec import Meta

from edgekit.graph.walk import walk
from edgekit.model.live import parts_of
from edgekit.stages.patterns import any_matching

Freeze = Annotated[
    tuple[str, ...], Meta(description="Patterns of layers that stay as they are while it trains (`block1_*`).")
]


@contextmanager
def frozen(model: Any, patterns: Sequence[str], stage: str) -> Iterator[tuple[str, ...]]:
    """Freeze the layers with weights that a pattern matches, and give their names; all flags come back at the end.

    A frozen BatchNormalization computes with its statistics and keeps them. Raises RecipeError for a pattern that
    matches no layer with weights.
    """
    weighted = {name: layer for name, layer in walk(model).layers.items() if layer.weights} if patterns else {}
    names = any_matching(patterns, weighted, stage) if patterns else set()
    flags = [(inner, inner.trainable) for name in sorted(names) for inner in parts_of(weighted[name])]
    try:
        for name in names:
            weighted[name].trainable = False
        yield tuple(name for name in weighted if name in names)
    finally:
        for layer, flag in flags:
            layer.trainable = flag
