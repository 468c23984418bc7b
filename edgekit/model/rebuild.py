"""Rebuild a Keras 3 model from the configuration of an older one: layer by layer, call by call.

A call is written in the file as `[layer, node, tensor, keyword arguments]`: the `tensor`-th output of the `node`-th
call of `layer`. Node numbers of a nested model start at one in some versions and at zero in others; every recorded call
is used by another, so the smallest number that occurs is the first call.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from edgekit.errors import ModelError
from edgekit.model.guard import CUSTOM, find_class
from edgekit.model.heal import AS_SAVED_MODEL, Healing, Settings, heal_layer
from edgekit.model.line import line_of
from edgekit.tf import import_keras

_MODELS = {"Functional", "Model", "Sequential"}
_RECURRENT = {"RNN", "LSTM", "GRU", "SimpleRNN", "Bidirectional", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"}
_CONSTANT = "_CONSTANT_VALUE"


@dataclass
class Rebuilt:
    """A model and its direct layers under the names they have in the file."""

    model: Any
    layers: dict[str, Any]


@dataclass
class _Graph:
    """A functional graph while its calls are replayed; `results` maps (layer, call) to its flat outputs."""

    layers: dict[str, Any]
    first: dict[str, int]
    results: dict[tuple[str, int], list[Any]] = field(default_factory=dict)

    def is_reference(self, value: Any) -> bool:
        """True for `[layer, node, tensor]` with or without keyword arguments."""
        if not isinstance(value, list) or len(value) not in (3, 4) or not isinstance(value[0], str):
            return False
        return value[0] in self.layers and isinstance(value[1], int)

    def resolve(self, value: Any) -> Any:
        """`value` with every reference replaced by its tensor. Raises KeyError while one is not there yet."""
        if self.is_reference(value):
            name, node, tensor = value[:3]
            return self.results[name, node - self.first[name]][tensor]
        if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
            return self.resolve(list(value["config"]["keras_history"]))
        if isinstance(value, list) and len(value) in (3, 4) and value[0] == _CONSTANT:
            return value[2]
        if isinstance(value, dict):
            return {key: self.resolve(item) for key, item in value.items()}
        return [self.resolve(item) for item in value] if isinstance(value, list) else value


def rebuild(entry: dict[str, Any], healing: Healing, trust: bool = False) -> Rebuilt:
    """The Keras 3 model that `entry` (`class_name` and `config`) describes, with fresh weights.

    Raises ModelError naming the layer where Keras 3 has no counterpart.
    """
    settings = entry["config"]
    if isinstance(settings, list):  # Keras before 2.2.3 wrote a Sequential as the bare list of its layers
        settings = {"name": "sequential", "layers": settings}
    build = _sequential if entry["class_name"] == "Sequential" else _functional
    rebuilt = build(settings, healing, trust)
    if settings.get("trainable") is False:
        rebuilt.model.trainable = False
    return rebuilt


def _sequential(settings: Settings, healing: Healing, trust: bool) -> Rebuilt:
    keras = import_keras()
    entries = settings["layers"]
    layers = _layers(entries, healing, trust)
    parts = list(layers.values())
    shape = entries[0]["config"].get("batch_input_shape") if isinstance(entries[0]["config"], dict) else None
    shape = shape or settings.get("build_input_shape")
    if shape and entries[0]["class_name"] != "InputLayer":
        parts.insert(0, keras.Input(batch_shape=tuple(shape)))
    return Rebuilt(keras.Sequential(parts, name=_sound(str(settings["name"]), ())), _without_inputs(layers))


def _functional(settings: Settings, healing: Healing, trust: bool) -> Rebuilt:
    keras = import_keras()
    entries = {_entry_name(entry): entry for entry in settings["layers"]}
    graph = _Graph(_layers(settings["layers"], healing, trust), {})
    graph.first = _first_calls(settings, graph)
    calls = []
    for name, entry in entries.items():
        if entry["class_name"] == "InputLayer":
            graph.results[name, 0] = [graph.layers[name]]
        calls += [(name, number, node) for number, node in enumerate(entry["inbound_nodes"])]
    _replay(calls, graph)
    inputs, outputs = (_bare(graph.resolve(settings[key])) for key in ("input_layers", "output_layers"))
    name = _sound(str(settings["name"]), ())
    return Rebuilt(keras.Model(inputs, outputs, name=name), _without_inputs(graph.layers))


def _without_inputs(layers: dict[str, Any]) -> dict[str, Any]:
    tensor = import_keras().KerasTensor
    return {name: layer for name, layer in layers.items() if not isinstance(layer, tensor)}


def _replay(calls: list[tuple[str, int, Any]], graph: _Graph) -> None:
    """Call every layer as often as the file says, each as soon as its inputs are there."""
    keras = import_keras()
    while calls:
        waiting = []
        for name, number, node in calls:
            try:
                positional, keywords = _arguments(node, graph)
            except KeyError:
                waiting.append((name, number, node))
                continue
            called = _called(name, graph.layers[name], positional, keywords)
            graph.results[name, number] = keras.tree.flatten(called)
        if len(waiting) == len(calls):
            raise ModelError(
                f"layers {', '.join(sorted({name for name, *_ in calls}))}: their inputs are nowhere in the file",
                "the configuration is damaged; save the model again",
            )
        calls = waiting


def _arguments(node: Any, graph: _Graph) -> tuple[list[Any], dict[str, Any]]:
    if isinstance(node, dict) and "args" in node:
        return graph.resolve(node["args"]), graph.resolve(node["kwargs"])
    references = list(_references(node, graph))
    keywords = references[-1][3] if references and len(references[-1]) == 4 else {}
    return [_bare(graph.resolve(node))], graph.resolve(keywords)


def _called(name: str, layer: Any, positional: list[Any], keywords: dict[str, Any]) -> Any:
    if type(layer).__name__ in _RECURRENT and isinstance(positional[0], list):
        sequence, *state = positional[0]  # Keras 2 passes the initial state in one list with the sequence
        positional, keywords = [sequence], {**keywords, "initial_state": state}
    try:
        return layer(*positional, **keywords)
    except (TypeError, ValueError, AttributeError) as cause:
        raise _refused(name, type(layer).__name__, cause) from cause


def _references(node: Any, graph: _Graph) -> Iterator[list[Any]]:
    if graph.is_reference(node):
        yield node
    elif isinstance(node, dict) and node.get("class_name") == "__keras_tensor__":
        yield list(node["config"]["keras_history"])
    elif isinstance(node, dict | list):
        for item in node.values() if isinstance(node, dict) else node:
            yield from _references(item, graph)


def _first_calls(settings: Settings, graph: _Graph) -> dict[str, int]:
    first = dict.fromkeys(graph.layers, 0)
    seen: dict[str, int] = {}
    nodes = [entry["inbound_nodes"] for entry in settings["layers"]]
    for name, number, *rest in _references([nodes, settings["output_layers"]], graph):
        seen[name] = min(number, seen.get(name, number))
        for inner, inner_number, *_ in _references(rest, graph):
            seen[inner] = min(inner_number, seen.get(inner, inner_number))
    return first | seen


def _layers(entries: list[dict[str, Any]], healing: Healing, trust: bool) -> dict[str, Any]:
    names = [_entry_name(entry) for entry in entries]
    taken = set(names)
    layers = {}
    for name, entry in zip(names, entries, strict=True):
        new = _sound(name, taken)
        if new != name:
            taken.add(new)
            healing.note("'/' in a name became '_', since Keras 3 allows none", f"{name!r}")
        layers[name] = _layer(entry, new, healing, trust)
    return layers


def _entry_name(entry: dict[str, Any]) -> str:
    settings = entry["config"]
    inner = settings.get("name") if isinstance(settings, dict) else None
    return str(entry.get("name") or inner or entry["class_name"].lower())


def _sound(name: str, taken: set[str] | tuple[()]) -> str:
    if "/" not in name:
        return name
    sound = name.replace("/", "_")
    while sound in taken:
        sound += "_"
    return sound


def _layer(entry: dict[str, Any], name: str, healing: Healing, trust: bool) -> Any:
    if entry["class_name"] in _MODELS:
        model = rebuild(entry, healing, trust).model
        model.name = name
        return model
    if entry["class_name"] == "InputLayer":
        return _input(entry["config"], name)
    healed = _healed({**entry, "config": {**entry["config"], "name": name}}, healing, trust)
    keras = import_keras()
    try:
        return keras.saving.deserialize_keras_object(healed, safe_mode=not trust)
    except (TypeError, ValueError, KeyError, AttributeError) as cause:
        raise _refused(name, entry["class_name"], cause) from cause


def _input(settings: Settings, name: str) -> Any:
    shape = settings.get("batch_input_shape") or settings.get("batch_shape")
    return import_keras().Input(batch_shape=tuple(shape or ()), dtype=settings.get("dtype"), name=name)


def _healed(entry: dict[str, Any], healing: Healing, trust: bool) -> dict[str, Any]:
    """`entry` in the words of Keras 3, with the layers that it wraps (cells, directions, models) healed as well."""
    if entry["class_name"] in _MODELS:
        serialized: dict[str, Any] = import_keras().saving.serialize_keras_object(rebuild(entry, healing, trust).model)
        return serialized
    name, settings = heal_layer(entry["class_name"], entry["config"], healing)
    settings = {key: _healed_inside(value, healing, trust) for key, value in settings.items()}
    if name == "Lambda":
        settings = _lambda(settings)
    found = find_class(name, entry.get("module"))
    module = entry.get("module") or (found and "keras.layers")
    return {
        "module": module,
        "class_name": name,
        "config": settings,
        "registered_name": entry.get("registered_name", name),
    }


def _healed_inside(value: Any, healing: Healing, trust: bool) -> Any:
    if isinstance(value, list):
        return [_healed_inside(item, healing, trust) for item in value]
    if not isinstance(value, dict) or not isinstance(value.get("config"), dict | list):
        return value
    found = find_class(value.get("class_name", ""), value.get("module"))
    is_layer = isinstance(found, type) and issubclass(found, import_keras().layers.Layer)
    return _healed(value, healing, trust) if is_layer or value.get("class_name") in _MODELS else value


def _lambda(settings: Settings) -> Settings:
    """The settings of a Lambda as Keras 3 writes them. Raises ModelError where the file only names its function."""
    function, shape = settings["function"], settings.get("output_shape")
    if isinstance(function, dict):
        return settings
    if isinstance(function, str):
        raise ModelError(f"Lambda {settings['name']!r} calls {function!r}, a function that is not in the file", CUSTOM)
    kept = {key: value for key, value in settings.items() if key in {"name", "trainable", "dtype", "arguments"}}
    if shape is not None:
        kept["output_shape"] = _code(shape) if settings.get("output_shape_type") == "lambda" else shape
    return {**kept, "function": _code(function)}


def _code(dumped: Any) -> dict[str, Any]:
    code, defaults, closure = dumped
    return {"class_name": "__lambda__", "config": {"code": code, "defaults": defaults, "closure": closure}}


def _bare(value: Any) -> Any:
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _refused(name: str, kind: str, cause: Exception) -> ModelError:
    again = f"rebuild the model in Keras 3 and load the weights; or {AS_SAVED_MODEL}"
    return ModelError(
        f"layer {name!r} ({kind}) cannot be brought over to Keras 3: {line_of(cause)}",
        CUSTOM if "Could not locate" in str(cause) else again,
    )
