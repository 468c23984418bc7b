"""Which operators of a TFLite file belong to which Keras layer, by the names that the converter leaves in it.

A tensor is called after the layers that are fused into its operator: `net_1/conv_1/add;net_1/relu_1/Relu` belongs to
`conv` and to `relu`. The trace adds a number to each name; an output is called like its layer.
"""

from __future__ import annotations

from typing import Any

from edgekit.graph.walk import walk
from edgekit.tflite.inspect import ModelContents


def operators_of_layers(contents: ModelContents, model: Any) -> dict[str, list[str]]:
    """For each layer of a Keras model the tensors that its operators write, in the order of the file."""
    layers = set(walk(model).layers)
    found: dict[str, list[str]] = {}
    for operator in contents.operators:
        if operator.subgraph == 0 and operator.output_name:
            for layer in sorted(_layers(operator.output_name, layers)):
                found.setdefault(layer, []).append(operator.output_name)
    return found


def _layers(tensor: str, layers: set[str]) -> set[str]:
    found = {tensor} & layers
    for part in tensor.split(";"):
        words = [_without_number(word) for word in part.split("/")]
        found |= {layer for layer in layers if "/" in part and _is_within(layer.split("."), words)}
    return found


def _is_within(names: list[str], words: list[str]) -> bool:
    """Whether the names occur in this order; a layer of a nested model has the path before its own name."""
    rest = iter(words)
    return all(name in rest for name in names)


def _without_number(word: str) -> str:
    head, mark, tail = word.rpartition("_")
    return head if mark and tail.isdigit() else word
