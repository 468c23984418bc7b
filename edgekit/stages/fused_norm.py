"""The training twin of a model: the same weights, with TensorFlow's fused batch normalization instead of Keras 3's.

Keras 3 normalizes with separate operations, which takes a third of a training step of MobileNetV2 on a CPU. The twin
gives the same outputs, gradients and statistics.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from edgekit.graph.rebuild import rebuild, same
from edgekit.graph.walk import Call, walk
from edgekit.tf import import_keras, import_tensorflow


def training_twin(model: Any) -> Any:
    """A model that shares all weights with `model`, which is flat (as `graph.rebuild.copy` makes it).

    It is the model itself where there is nothing to fuse.
    """
    graph = walk(model)
    if not any(map(_fusible, graph.calls)):
        return model
    twins: dict[str, Any] = {}

    def make(call: Call) -> Callable[..., Any]:
        if not _fusible(call):
            operation: Callable[..., Any] = same(call)
            return operation
        if call.name not in twins:
            twins[call.name] = _fused_class()(call.operation, name=f"{call.name}_fused")
        twin: Callable[..., Any] = twins[call.name]
        return twin

    return rebuild(graph, make)


def _fusible(call: Call) -> bool:
    layer = call.operation
    if type(layer) is not import_keras().layers.BatchNormalization or len(call.inputs) != 1:
        return False
    images = len(call.inputs[0].shape) == 4 and layer.axis in (-1, 3)
    return images and not layer.synchronized and layer.compute_dtype == "float32" and call.kwargs.get("mask") is None


@cache
def _fused_class() -> Any:
    keras, tf = import_keras(), import_tensorflow()

    class FusedNorm(import_keras().layers.Layer):  # type: ignore[misc]
        """Stands in for a batch normalization layer in the twin."""

        def __init__(self, norm: Any, **settings: Any) -> None:
            super().__init__(**settings)
            self.norm = norm
            self.built = True

        def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
            norm = self.norm
            if mask is not None or not (training and norm.trainable):
                return norm(inputs, training=training, mask=mask)
            channels = inputs.shape[-1]
            scale = norm.gamma.value if norm.scale else tf.ones([channels])
            offset = norm.beta.value if norm.center else tf.zeros([channels])
            outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(inputs, scale, offset, epsilon=norm.epsilon)
            count = tf.cast(tf.size(inputs) // channels, "float32")
            biased = variance * (count - 1) / count  # the operation gives the unbiased one, Keras 3 keeps the biased
            for kept, seen in ((norm.moving_mean, mean), (norm.moving_variance, biased)):
                kept.assign(kept.value * norm.momentum + seen * (1 - norm.momentum))
            return outputs

        def compute_output_spec(self, inputs: Any, **_: Any) -> Any:
            return keras.KerasTensor(inputs.shape, dtype=inputs.dtype)

    return FusedNorm
