"""Which operators have an output whose size is not known before the model runs.

Delegates that take no dynamic tensors are refused the whole graph then (ModifyGraphWithDelegate, tensorflow/lite/core/
subgraph.cc). Kernels settle the size beforehand where the inputs that decide it are constant or follow from shapes
(`IsConstantOrPersistentTensor` in tensorflow/lite/kernels/).
"""

from __future__ import annotations

from edgekit.tflite.graph import Graph, Operator, Tensor

SIZES = {
    "ARG_MAX": (1,),
    "ARG_MIN": (1,),
    "BATCH_TO_SPACE_ND": (1, 2),
    "BROADCAST_TO": (1,),
    "DILATE": (1,),
    "EXPAND_DIMS": (1,),
    "FILL": (0,),
    "MEAN": (1,),
    "MIRROR_PAD": (1,),
    "NON_MAX_SUPPRESSION_V4": (2,),
    "NON_MAX_SUPPRESSION_V5": (2,),
    "ONE_HOT": (1,),
    "PAD": (1,),
    "PADV2": (1,),
    "RANGE": (0, 1, 2),
    "REDUCE_ALL": (1,),
    "REDUCE_ANY": (1,),
    "REDUCE_MAX": (1,),
    "REDUCE_MIN": (1,),
    "REDUCE_PROD": (1,),
    "RESHAPE": (1,),
    "RESIZE_BILINEAR": (1,),
    "RESIZE_NEAREST_NEIGHBOR": (1,),
    "SCATTER_ND": (2,),
    "SLICE": (1, 2),
    "SPACE_TO_BATCH_ND": (1, 2),
    "SPARSE_TO_DENSE": (1,),
    "SPLIT": (0,),
    "SPLIT_V": (1, 2),
    "STRIDED_SLICE": (1, 2, 3),
    "SUM": (1,),
    "TILE": (1,),
    "TOPK_V2": (1,),
    "TRANSPOSE": (1,),
    "TRANSPOSE_CONV": (0,),
}
"""The inputs that decide the size of the output, by operator."""
SIZED_BY_VALUES = {"WHERE", "UNIQUE"}
# Kernels that compute beforehand what follows from constants and shapes (`SetTensorToPersistentRo`).
_FROM_SHAPES = {"SHAPE", "RANK"}
_FOLDED = {"BROADCAST_ARGS", "CONCATENATION", "GATHER", "MUL", "RANGE", "RESHAPE", "STRIDED_SLICE", "TILE"}


def dynamic_operators(graph: Graph) -> list[Operator]:
    """The operators of the main graph whose output has a size that is not known before the model runs, in order."""
    known = {index for index, tensor in enumerate(graph.tensors) if tensor.constant}
    found = []
    for operator in graph.operators:
        if _dynamic(operator, known) or any(_unsized(operator, tensor) for tensor in graph.written(operator)):
            found.append(operator)
        elif _settled(operator, known):
            known.update(operator.outputs)
    return found


def _dynamic(operator: Operator, known: set[int]) -> bool:
    if operator.custom:
        return False
    deciding = [operator.inputs[place] for place in SIZES.get(operator.name, ()) if place < len(operator.inputs)]
    return operator.name in SIZED_BY_VALUES or any(index >= 0 and index not in known for index in deciding)


def _unsized(operator: Operator, result: Tensor) -> bool:
    """Text has the size that it has; a variable without shape may be anything (tensorflow/lite/kernels/)."""
    return result.dtype == "string" or (operator.name == "READ_VARIABLE" and not result.shape)


def _settled(operator: Operator, known: set[int]) -> bool:
    if operator.name in _FROM_SHAPES:
        return True
    return operator.name in _FOLDED and all(index in known for index in operator.inputs if index >= 0)
