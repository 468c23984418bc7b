"""A Keras model as a flat list of calls: what every graph rewrite reads.

Nested functional and Sequential models are inlined, a shared layer appears once for each call with the same layer
object, and operations (`x + y`, `keras.ops.*`) are calls like any other. Nothing of the user's model is changed.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any

from edgekit.errors import ModelError
from edgekit.tf import import_keras


@dataclass(frozen=True)
class Tensor:
    """A tensor between two calls; `shape` has the batch axis first and None where it is open."""

    index: int
    shape: tuple[int | None, ...]
    dtype: str


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a layer or an operation.

    `args` and `kwargs` hold a `Tensor` where the model passes one; `outputs` has the structure that the operation
    returns. `path` names the nested models around it, the outermost first. `name` is unique among the operations of
    the graph: the operation's own name, with the path before it where two nested models use the same.
    """

    index: int
    name: str
    operation: Any = field(repr=False)
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: Any
    path: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """Class name of the layer or operation."""
        return type(self.operation).__name__

    @cached_property
    def inputs(self) -> tuple[Tensor, ...]:
        """The tensors that enter, in the order of the arguments."""
        return tensors((self.args, self.kwargs))

    @cached_property
    def results(self) -> tuple[Tensor, ...]:
        """The tensors that leave, in the order of `outputs`."""
        return tensors(self.outputs)


@dataclass(frozen=True, eq=False)
class Graph:
    """A model: `calls` in an order in which they can run; `inputs` and `outputs` in the model's own structure.

    `sources` are the input layers in the order of the flat inputs, `ends` the names of the flat outputs: those of the
    layers and nested models that give them.
    """

    name: str
    inputs: Any
    outputs: Any
    sources: tuple[Any, ...] = field(repr=False)
    calls: tuple[Call, ...]
    ends: tuple[str, ...]

    @cached_property
    def producers(self) -> dict[Tensor, Call]:
        """The call that makes a tensor; the inputs of the model have none."""
        return {tensor: call for call in self.calls for tensor in call.results}

    @cached_property
    def operations(self) -> dict[str, Any]:
        """The distinct layers and operations by their unique name, in the order of their first call."""
        return {call.name: call.operation for call in self.calls}

    @cached_property
    def layers(self) -> dict[str, Any]:
        """Those of `operations` that are Keras layers."""
        layer = import_keras().Layer
        return {name: operation for name, operation in self.operations.items() if isinstance(operation, layer)}

    def calls_of(self, name: str) -> tuple[Call, ...]:
        """All calls of the operation with this name; more than one where it is shared."""
        return tuple(call for call in self.calls if call.name == name)


def tensors(structure: Any) -> tuple[Tensor, ...]:
    """The tensors in a nested structure, in order."""
    return tuple(leaf for leaf in import_keras().tree.flatten(structure) if isinstance(leaf, Tensor))


def substitute(structure: Any, value_of: Callable[[Tensor], Any]) -> Any:
    """The structure with each tensor replaced; everything else stays."""
    return import_keras().tree.map_structure(
        lambda leaf: value_of(leaf) if isinstance(leaf, Tensor) else leaf, structure
    )


def walk(model: Any) -> Graph:
    """The flat graph of a functional or Sequential model.

    Raises ModelError for a model whose calls cannot be seen: a subclassed one, or a Sequential without input shape.
    """
    if not _is_transparent(model):
        raise ModelError(
            f"{model.name!r} ({type(model).__name__}) is no functional or Sequential model with known inputs",
            "build it as keras.Model(inputs, outputs), or wrap its parts in one",
        )
    functional = _functional(model)
    tracer = _Tracer()
    flat = [tracer.tensor(spec) for spec in functional.inputs]
    outputs = tracer.run(functional, flat, (), None)
    inputs = import_keras().tree.pack_sequence_as(functional.input, flat)
    sources = tuple(spec._keras_history.operation for spec in functional.inputs)
    calls = tuple(_uniquely_named(tracer.calls, {source.name for source in sources}))
    ends = tuple(spec._keras_history.operation.name for spec in functional.outputs)
    return Graph(model.name, inputs, outputs, sources, calls, ends)


class _Tracer:
    """Collects the calls of a model while its graph is run on descriptions of tensors."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.count = 0

    def tensor(self, spec: Any) -> Tensor:
        self.count += 1
        return Tensor(self.count - 1, tuple(spec.shape), str(spec.dtype))

    def run(self, model: Any, flat_inputs: list[Tensor], path: tuple[str, ...], training: bool | None) -> Any:
        """Run the calls of a functional model; the outputs in its structure."""

        def record(operation: Any, *args: Any, **kwargs: Any) -> Any:
            return self.record(operation, args, kwargs, path, training)

        return run_through(model, flat_inputs, record)

    def record(
        self,
        operation: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        path: tuple[str, ...],
        training: bool | None,
    ) -> Any:
        if training is not None and _takes_training(operation):
            kwargs = {**kwargs, "training": training}
        nested = _nested_inputs(operation, args, kwargs)
        if nested is not None:
            return self.run(_functional(operation), nested, (*path, operation.name), kwargs.get("training"))
        outputs = import_keras().tree.map_structure(self.tensor, _output_spec(operation, args, kwargs))
        self.calls.append(Call(len(self.calls), operation.name, operation, args, kwargs, outputs, path))
        return outputs


def run_through(model: Any, flat_inputs: list[Any], call: Callable[..., Any]) -> Any:
    """Run the graph of a functional model on any values; `call(operation, *args, **kwargs)` gives each call's outputs.

    The one place that knows Keras's private `_run_through_graph`.
    """
    return model._run_through_graph(flat_inputs, operation_fn=lambda operation: operation, call_fn=call)


def _output_spec(operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What the operation returns for tensors of these shapes, without leaving a trace in it."""
    keras = import_keras()
    symbolic = substitute((args, kwargs), lambda tensor: keras.KerasTensor(tensor.shape, tensor.dtype))
    return operation.compute_output_spec(*symbolic[0], **symbolic[1])


def _is_transparent(operation: Any) -> bool:
    """True for functional and Sequential models that run their graph and nothing else."""
    keras = import_keras()
    functional = _functional_class()
    if not isinstance(operation, (functional, keras.Sequential)):
        return False
    plain = type(operation).call in (functional.call, keras.Sequential.call)
    return plain and bool(getattr(operation, "built", False)) and _has_inputs(operation)


@cache
def _functional_class() -> Any:
    """The class of functional models, for which Keras has no public name."""
    keras = import_keras()
    tensor = keras.Input((1,), name="probe")
    return type(keras.Model(tensor, tensor, name="probe"))


def _has_inputs(model: Any) -> bool:
    try:
        return bool(model.inputs)
    except AttributeError:
        return False


def _functional(model: Any) -> Any:
    keras = import_keras()
    if not isinstance(model, keras.Sequential):
        return model
    inputs, outputs = (ends[0] if len(ends) == 1 else ends for ends in (model.inputs, model.outputs))
    return keras.Model(inputs, outputs, name=model.name)


def _nested_inputs(operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor] | None:
    """The flat inputs of a nested model that can be inlined; None for anything else.

    A model that is given a mask is left whole, because a mask belongs to the call and not to the tensors.
    """
    if not _is_transparent(operation) or kwargs.get("mask") is not None:
        return None
    if len(args) + ("inputs" in kwargs) != 1 or set(kwargs) - {"training", "mask", "inputs"}:
        return None
    given = args[0] if args else kwargs["inputs"]
    wanted = operation.inputs if isinstance(operation, import_keras().Sequential) else operation.input
    if isinstance(wanted, dict) and isinstance(given, dict):
        given = {key: given[key] for key in wanted if key in given}
    flat = list(tensors(given))
    same = len(flat) == len(operation.inputs) and isinstance(given, dict) == isinstance(wanted, dict)
    ranks = same and all(len(a.shape) == len(b.shape) for a, b in zip(flat, operation.inputs, strict=True))
    return flat if ranks else None


def is_of_keras(operation: Any) -> bool:
    """Whether the class of a layer or operation is Keras's, and not the user's own of the same name."""
    return type(operation).__module__.startswith("keras.src.")


def _takes_training(operation: Any) -> bool:
    return "training" in inspect.signature(operation.call).parameters


def _uniquely_named(calls: list[Call], taken: set[str]) -> Iterator[Call]:
    """The calls with names that differ wherever the operations differ."""
    first = {id(call.operation): call for call in reversed(calls)}
    counts = Counter([*(call.operation.name for call in first.values()), *taken])
    names: dict[int, str] = {}
    used = set(taken)
    for call in calls:
        if id(call.operation) not in names:
            own = call.operation.name
            wished = own if counts[own] == 1 else ".".join((*call.path, own))
            names[id(call.operation)] = _free(wished, used)
            used.add(names[id(call.operation)])
        yield replace(call, name=names[id(call.operation)])


def _free(wished: str, used: set[str]) -> str:
    name, number = wished, 1
    while name in used:
        name, number = f"{wished}_{number}", number + 1
    return name
