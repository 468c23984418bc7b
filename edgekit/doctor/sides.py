"""The sides of an agreement: a file as some runtime runs it, its integer simulation, and the Keras model before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from edgekit.bench.plan import Plan
from edgekit.bench.run import infer
from edgekit.data.parts import Part
from edgekit.device.protocol import Device
from edgekit.doctor.agreement import OperatorDifference, Values, compared
from edgekit.errors import ModelError, RunError
from edgekit.graph.walk import substitute, tensors, walk
from edgekit.model import Model
from edgekit.stages.inner_values import inner_values
from edgekit.stages.integer_graph import LEVELS, IntegerGraph, read_file
from edgekit.stages.integer_model import integer_model, operators_alone
from edgekit.stages.integer_names import operators_of_layers
from edgekit.stages.losses import call
from edgekit.tf import import_keras, import_tensorflow
from edgekit.tflite.graph import read_graph
from edgekit.tflite.inspect import ModelContents, TensorInfo, read_contents
from edgekit.tflite.numbers import to_real, to_stored
from edgekit.tflite.taps import computed_tensors, with_inner_outputs, with_operators_apart
from edgekit.verify import Outputs, quantum, run_file

_BATCH = 32
_FUSED = ("linear", "relu", "relu6")
_FEEDABLE = ("float32", "float16", "int8", "uint8", "int16", "int32", "int64")


@dataclass(frozen=True, eq=False)
class FileSide:
    """A file as a plan and a device (this machine, where None) run it."""

    name: str
    model: bytes = field(repr=False)
    plan: Plan
    device: Device | None = None

    @cached_property
    def contents(self) -> ModelContents:
        """What the file says of itself."""
        return read_contents(self.model)

    def outputs(self, part: Part) -> Outputs:
        """Real-valued outputs for all samples. Raises RunError, DataError, DeviceError."""
        return run_file(self.model, part, plan=self.plan, device=self.device)

    def values(self, part: Part) -> Values:
        """Every tensor that is computed of the inputs.

        Raises RunError where the outputs are then no longer what they were.
        """
        found = self._run(with_inner_outputs(self.model), self._stored(part))
        for index, tensor, array in zip(
            self.contents.output_indices, self.contents.outputs, self.outputs(part).arrays, strict=True
        ):
            real = to_real(found[index], tensor) if index in found else array
            if np.abs(real.astype(np.float64) - array).max(initial=0) > quantum(tensor, array):
                raise RunError(
                    f"with all tensors as outputs, which stops some fusing, {tensor.name!r} is another",
                    "compare the outputs alone",
                )
        known = _of_the_inputs(self.contents)
        return {index: array for index, array in found.items() if index in known}

    def alone(self, part: Part, values: Values) -> Values:
        """What each operator makes of `values`; what cannot be fed (flags, shapes) it computes itself."""
        fed = [index for index in self._fed if index in values]
        file = with_inner_outputs(with_operators_apart(self.model, fed))
        return self._run(file, [*self._stored(part), *(values[index] for index in fed)])

    @property
    def _fed(self) -> list[int]:
        tensors, batch = self.contents.tensors, self.contents.inputs[0].shape[:1]
        read = {index for op in self.contents.operators if op.subgraph == 0 for index in op.inputs}
        return [
            index
            for index in computed_tensors(self.contents)
            if index in read and tensors[index].shape[:1] == batch and tensors[index].dtype in _FEEDABLE
        ]

    def _stored(self, part: Part) -> list[Any]:
        return [to_stored(array, tensor) for array, tensor in zip(part.array(), self.contents.inputs, strict=True)]

    def _run(self, file: bytes, stored: list[Any]) -> Values:
        outputs = infer(file, stored, device=self.device, **self.plan.running).outputs
        return dict(zip(computed_tensors(self.contents), outputs, strict=True))


def _of_the_inputs(contents: ModelContents) -> set[int]:
    """The tensors that depend on the inputs: what unpacks constants, a delegate does not always write."""
    found = set(contents.input_indices)
    for operator in contents.operators:
        if operator.subgraph == 0 and (found & set(operator.inputs) or not operator.inputs):
            found |= set(operator.outputs)
    return found


class Simulation:
    """An integer file computed by TensorFlow in real numbers on the grids of the file (`stages.integer_model`)."""

    name = "integer simulation"

    def __init__(self, model: bytes) -> None:
        """Raises ModelError for a file that is not of int8 or int16, or has an operator without a rule."""
        self.contents = read_contents(model)
        types = {t.dtype for t in self.contents.tensors if t.scale is not None and not t.constant_bytes}
        if not types or not types <= set(LEVELS):
            found = ", ".join(sorted(types)) or "floats"
            raise ModelError(f"the simulation is for int8 and int16 activations, and this file has {found}")
        self.graph: IntegerGraph = read_file(model)
        self.network = integer_model(self.graph, {})

    def outputs(self, part: Part) -> Outputs:
        """Real-valued outputs for all samples."""
        run = import_tensorflow().function(lambda *x: call(self.network, x, training=False), autograph=False)
        found = [[np.asarray(output) for output in run(*batch)] for batch in part.batches(_BATCH)]
        return Outputs(tuple(np.concatenate(arrays) for arrays in zip(*found, strict=True)), _BATCH, "tensorflow")

    def alone(self, part: Part, values: Values) -> Values:
        """What each operator makes of `values`, on the grid of what it writes, `[samples, ...]`."""
        tensors = self.contents.tensors
        real = {index: to_real(array, tensors[index]) for index, array in values.items()}
        inputs = zip(self.contents.input_indices, self.contents.inputs, part.array(), strict=True)
        real |= {index: to_real(to_stored(array, tensor), tensor) for index, tensor, array in inputs}
        return {
            index: _on_grid(array, tensors[index])
            for made in operators_alone(self.network, real)
            for index, array in made.items()
        }


def _on_grid(real: Any, tensor: TensorInfo) -> Any:
    """Real values in quanta, not clipped: a wrong one must show."""
    return real if tensor.scale is None else np.round(real / np.float32(tensor.scale)) + (tensor.zero_point or 0)


@dataclass(frozen=True, eq=False)
class KerasSide:
    """A Keras model as Keras runs it; `taken` puts the inputs of a part into the order of the model."""

    model: Model
    taken: Callable[[Part], Part] = lambda part: part
    name: str = "Keras model"

    def outputs(self, part: Part) -> Outputs:
        """Outputs for all samples."""
        return Outputs(tuple(self.model.predict(self.taken(part).array())), _BATCH, "keras")

    def compared_with(self, file: bytes, part: Part) -> Iterator[OperatorDifference]:
        """Each layer that is met in the float32 file by its name, as both run: in float little adds up.

        Raises ModelError for a model without layers to look into.
        """
        contents = read_contents(file)
        layers = _layer_values(contents, self.model.keras, self.taken(part))
        layers |= dict(zip(contents.output_indices, self.outputs(part).arrays, strict=True))
        batch = read_graph(file).batch
        filled = -(-len(part) // batch) * batch  # of whole runs: the first samples come once more
        runs = inner_values(file, [np.resize(array, (filled, *array.shape[1:])) for array in part.array()])
        for operator in contents.operators:
            for index in (index for index in operator.outputs if index in layers and operator.subgraph == 0):
                theirs = np.concatenate([run[index] for run in runs])[: len(part)]
                if theirs.shape == layers[index].shape:
                    yield compared(operator.index, operator.name, contents.tensors[index], layers[index], theirs, 1.0)


def _layer_values(contents: ModelContents, model: Any, part: Part) -> Values:
    """What the layers of a Keras model compute, by the tensor that has it: the last layer of those fused into one."""
    if model is None:
        raise ModelError("what is no Keras model has no layers to look into")
    named, keras, found = operators_of_layers(contents, model), import_keras(), {}
    numbers = {contents.tensors[index].name: index for index in computed_tensors(contents)}
    graph = walk(model)
    values = dict(zip(tensors(graph.inputs), part.array(), strict=True))
    for one in graph.calls:
        args, kwargs = substitute((one.args, one.kwargs), values.__getitem__)
        values |= dict(zip(one.results, keras.tree.flatten(one.operation(*args, **kwargs)), strict=True))
        activation = getattr(getattr(one.operation, "activation", None), "__name__", "linear")
        if one.name in named and len(one.results) == 1 and activation in _FUSED:
            found[numbers[named[one.name][-1]]] = np.asarray(values[one.results[0]])
    return found
