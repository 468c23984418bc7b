"""A graph becomes a Keras model again, with any of its calls replaced."""

from __future__ import annotations

import copy as shallow
import inspect
import sys
from collections.abc import Callable
from types import FunctionType
from typing import Any

import numpy as np

from edgekit.errors import ModelError
from edgekit.graph.walk import Call, Graph, Tensor, substitute, tensors, walk
from edgekit.model.line import line_of
from edgekit.model.live import own_objects, parts_of
from edgekit.tf import import_keras

FUNCTIONS = ("activation", "recurrent_activation")
_OF_EACH = ("name", "trainable", "dtype")

Make = Callable[[Call], Callable[..., Any]]


def rebuild(graph: Graph, make: Make, outputs: Any = None) -> Any:
    """The Keras model of `graph` in which each call runs `make(call)` instead of its operation.

    `make` is asked once for each call, in order; `per_operation` makes it once for each operation, which keeps shared
    layers shared. What it returns is called with the arguments of the call and gives outputs of the same structure.
    Names and structures of inputs and outputs are kept; `outputs` (a structure of the graph's tensors) takes others
    instead. The model is not compiled.
    """
    keras = import_keras()
    values: dict[Tensor, Any] = {}
    for tensor, source in zip(tensors(graph.inputs), graph.sources, strict=True):
        values[tensor] = keras.Input(
            batch_shape=tensor.shape,
            dtype=tensor.dtype,
            sparse=source.sparse,
            name=source.name,
            optional=source.optional,
        )
    for call in graph.calls:
        args, kwargs = substitute((call.args, call.kwargs), values.__getitem__)
        made = keras.tree.flatten(make(call)(*args, **kwargs))
        values.update(zip(call.results, made, strict=True))
    ends = graph.outputs if outputs is None else outputs
    inputs, results = (substitute(structure, values.__getitem__) for structure in (graph.inputs, ends))
    model = keras.Model(inputs, results, name=graph.name)
    return model if outputs is not None or isinstance(graph.outputs, dict) else _named(model, graph.ends)


def _named(model: Any, names: tuple[str, ...]) -> Any:
    """The model with its outputs under these names where they are free: nested models, whose names went, gave some."""
    keras = import_keras()
    taken, ends = {operation.name for operation in model.operations}, list(model.outputs)
    gone = [place for place, name in enumerate(names) if name not in taken and names.count(name) == 1]
    for place in gone:
        ends[place] = keras.layers.Identity(name=names[place], dtype=ends[place].dtype)(ends[place])
    outputs = keras.tree.pack_sequence_as(model.output, ends)
    return keras.Model(model.input, outputs, name=model.name) if gone else model


def copy(model: Any) -> Any:
    """The same model, flat, with layers and weights of its own: what a stage may change.

    Raises ModelError for a layer that cannot be made from its configuration.
    """
    return rebuild(walk(model), per_operation(fresh))


def per_operation(make: Make) -> Make:
    """`make`, asked only at the first call of each operation."""
    made: dict[str, Callable[..., Any]] = {}

    def once(call: Call) -> Callable[..., Any]:
        if call.name not in made:
            made[call.name] = make(call)
        return made[call.name]

    return once


def same(call: Call) -> Any:
    """The operation itself, with its weights: the new model shares them with the old one.

    Raises ModelError where two layers of nested models have one name, which a flat model cannot keep.
    """
    if call.name != call.operation.name:
        raise ModelError(
            f"two layers are called {call.operation.name!r} (the one in {'.'.join(call.path) or 'the model'})",
            "copy the model first: the copy has unique names",
        )
    return call.operation


def fresh(call: Call) -> Any:
    """A copy of the operation under its unique name, with its own weights of the same values."""
    if not isinstance(call.operation, import_keras().Layer):
        return _operation(call)
    return loaded(cloned(call), [np.asarray(weight) for weight in call.operation.weights], call.operation)


def cloned(call: Call, **changes: Any) -> Any:
    """A new layer or operation from the configuration of a call's, with some settings changed; without weights yet.

    Raises ModelError where its class cannot be made from its configuration.
    """
    layer = call.operation
    if not changes and not _has_configuration(call):
        return _operation(call)
    kept = [name for name in FUNCTIONS if name not in changes]
    functions = {name: getattr(layer, name) for name in kept if _is_own(getattr(layer, name, None))}
    own = own_objects(layer)
    try:
        with import_keras().saving.custom_object_scope(_not_imported(own)), _trusted():
            settings = _unbuilt(layer.get_config()) | dict.fromkeys(functions, "linear")
            twin = _made(type(layer), {**settings, "name": call.name, **changes})
    except Exception as cause:  # what a foreign get_config or __init__ may raise is unbounded
        raise ModelError(
            f"layer {call.name!r} ({call.kind}) cannot be copied: {line_of(cause)}",
            f"give {_layers_in(own) or call.kind} a get_config that holds every argument of its __init__; let its "
            "__init__ take **kwargs, and pass them to super().__init__",
        ) from cause
    for name, function in functions.items():
        setattr(getattr(twin, "cell", twin), name, function)
    for inner, other in _pairs(twin, layer):
        if isinstance(inner, import_keras().layers.Lambda):  # whose function comes back without its globals
            inner.function = other.function
    return twin


def _not_imported(own: set[Any]) -> dict[str, Any]:
    """Functions, and the classes that Keras does not find by their module, by name."""

    def found(one: Any) -> bool:
        return isinstance(one, type) and getattr(sys.modules.get(one.__module__), one.__name__, None) is one

    return {one.__name__: one for one in own if not found(one)}


def _layers_in(own: set[Any]) -> str:
    layer = import_keras().Layer
    return " and ".join(sorted(part.__name__ for part in own if isinstance(part, type) and issubclass(part, layer)))


def _pairs(layer: Any, like: Any) -> list[tuple[Any, Any]]:
    """A layer and all inside it, each with its counterpart in another; none where that is None or made otherwise."""
    parts, others = parts_of(layer), parts_of(like)
    return list(zip(parts, others, strict=True)) if len(parts) == len(others) else []


def _trusted() -> Any:
    """Keras takes code from configurations: here from those of objects that are in memory already."""
    from keras.src.saving.serialization_lib import SafeModeScope  # for which Keras has no public name

    return SafeModeScope(False)


def _made(kind: Any, settings: dict[str, Any]) -> Any:
    """A layer of these settings; what every layer has is left out where a class of the user's does not take it."""
    taken = inspect.signature(kind.__init__).parameters
    every = any(one.kind is one.VAR_KEYWORD for one in taken.values())
    made = kind.from_config({key: settings[key] for key in settings if every or key in taken or key not in _OF_EACH})
    made.name = settings["name"]
    return made


def _has_configuration(call: Call) -> bool:
    """False for operations, and for Lambda, whose function Keras does not give back; neither has weights."""
    return isinstance(call.operation, import_keras().Layer) and call.kind != "Lambda"


def _is_own(function: Any) -> bool:
    """True for a function of the user's, which a configuration does not always give back."""
    return isinstance(function, FunctionType) and not function.__module__.startswith("keras.")


def _unbuilt(config: Any) -> Any:
    """A configuration without the input shapes that wrapped layers were built for."""
    if isinstance(config, dict):
        keys = config.keys() - ({"build_config"} if "class_name" in config else set())
        return {key: _unbuilt(value) for key, value in config.items() if key in keys}
    return [_unbuilt(item) for item in config] if isinstance(config, list) else config


def loaded(layer: Any, weights: list[np.ndarray[Any, Any]], like: Any = None) -> Callable[..., Any]:
    """The layer as a callable that takes these weights when its first call has built it, frozen where `like` is."""
    waiting = [weights]

    def call(*args: Any, **kwargs: Any) -> Any:
        outputs = layer(*args, **kwargs)
        if waiting:
            assign(layer, waiting.pop())
            for inner, other in _pairs(layer, like):
                if inner.trainable != other.trainable:
                    inner.trainable = other.trainable
        return outputs

    return call


def assign(layer: Any, weights: list[np.ndarray[Any, Any]]) -> None:
    """Set the weights of a built layer. Raises ModelError where their shapes differ from what the layer made."""
    wanted, given = [tuple(weight.shape) for weight in layer.weights], [weight.shape for weight in weights]
    if wanted != given:
        raise ModelError(
            f"layer {layer.name!r} ({type(layer).__name__}) made weights {wanted} where {given} were expected",
            "a layer's configuration must determine the shapes of its weights",
        )
    for variable, value in zip(layer.weights, weights, strict=True):
        variable.assign(value)
    for inner in parts_of(layer):
        if hasattr(inner, "finalize_state"):  # Normalization derives what it computes with from its weights
            inner.finalize_state()


def _operation(call: Call) -> Any:
    """A copy of an operation that has settings but no weights."""
    operation = shallow.copy(call.operation)
    vars(operation).update(_inbound_nodes=[], _outbound_nodes=[], name=call.name)
    return operation
