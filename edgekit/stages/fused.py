"""TensorFlow's fused operations where Keras 3 uses many small ones: batch normalization and Adam.

On a CPU the many small ones take a third of a training step of MobileNetV2. Outputs, gradients, statistics and updates
are those of Keras.
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


@cache
def fused_adam() -> Any:
    """The class of Keras's Adam with one operation for each variable instead of about twelve."""
    tf = import_tensorflow()

    class FusedAdam(import_keras().optimizers.Adam):  # type: ignore[misc]
        """Adam (Kingma & Ba 2015, arXiv:1412.6980), updated by `ResourceApplyAdam`."""

        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            index, kind = self._get_variable_index(variable), variable.dtype
            step = tf.cast(self.iterations.value + 1, kind)
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=self._momentums[index].value.handle,
                v=self._velocities[index].value.handle,
                beta1_power=tf.pow(tf.cast(self.beta_1, kind), step),
                beta2_power=tf.pow(tf.cast(self.beta_2, kind), step),
                lr=tf.cast(learning_rate, kind),
                beta1=tf.cast(self.beta_1, kind),
                beta2=tf.cast(self.beta_2, kind),
                epsilon=tf.cast(self.epsilon, kind),
                grad=tf.cast(tf.convert_to_tensor(gradient), kind),
            )

    return FusedAdam
