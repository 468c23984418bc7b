"""SavedModel folders: one signature, checked for operations that reach out of the graph before TensorFlow runs any."""

from __future__ import annotations

import hashlib
import importlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from edgekit.errors import ModelError
from edgekit.model.line import line_of
from edgekit.model.live import refuse_text, refuse_unsound
from edgekit.model.loaded import Model, TensorSpec
from edgekit.tf import import_tensorflow

_SERVING = "serving_default"
_AGAIN = "export it again (`model.export('folder')`), and compare checksums after copying"
_MARKS = {"__saved_model_init_op", "__saved_model_train_op"}

# Operations that touch files, the network, the console or Python; names as in tensorflow.raw_ops.
_REACHES_OUT = re.compile(
    r".*PyFunc.*|ReadFile|WriteFile|MatchingFiles|.*Reader(V2)?|Reader(Read|Restore|Serialize|Reset|Num).*|Print(V2)?"
    r"|(Experimental)?(TFRecord|TextLine|FixedLengthRecord|CSV|Sql|LMDB|MatchingFiles|DataService|Save|Load|Cache|Register)"
    r"Dataset(V\d)?|(Experimental)?DatasetToTFRecord|RegisterDataset(V2)?|.*Snapshot.*|DistributedSave"
    r"|InitializeTableFromTextFile(V2)?|GenerateVocabRemapping|LoadAndRemapMatrix|ImmutableConst|Skipgram"
    r"|(De|En)code(Proto|ProtoV2)|Debug(Gradient)?(Ref)?Identity(V\d)?|DebugN.*|(Create)?Summary.*Writer|CreateSummary.*"
    r"|FileSystemSetConfiguration|RemoteCall|Send|Recv|_?Host(Send|Recv)|Rpc.*|TryRpc|.*TRT.*|TfLiteSubgraphExecute|Shell.*"
)
_CHECKPOINT = re.compile(r"(Save|Restore|SaveSlices|RestoreSlice|SaveV2|RestoreV2|MergeV2Checkpoints)")
_RESTORES = re.compile(r"(Restore|RestoreSlice|RestoreV2)")


def load_saved_model(path: Path, origin: str, name: str, trust: bool) -> Model:
    """The signature of a SavedModel folder as a `Model`.

    Raises ModelError for a folder that is damaged or hostile, has no signature or several of which none is
    `serving_default`, or whose tensors are ragged, sparse or text.
    """
    if not trust:
        _check(path, origin)
    tensorflow = import_tensorflow()
    try:
        loaded = tensorflow.saved_model.load(str(path))
    except Exception as cause:
        raise ModelError(f"{origin}: TensorFlow cannot load it: {line_of(cause)}", _AGAIN) from cause
    signature = serving_signature(loaded, origin)
    inputs = _specs(signature.structured_input_signature[1], origin)
    _refuse_scalars(inputs, origin)
    outputs = _specs(signature.structured_outputs, origin)
    refuse_text((*inputs, *outputs), origin)
    refuse_unsound(((item.name, item.numpy()) for item in signature.variables), origin)

    def call(*, _owner: Any = loaded, **tensors: Any) -> Any:  # what owns the variables must live as long
        return signature(**tensors)

    return Model(origin, name, "saved_model", digest(path), inputs, outputs, (), None, path, call)


def serving_signature(loaded: Any, origin: str) -> Any:
    """The signature `serving_default`, or the only one. Raises ModelError where the choice is open."""
    signatures = dict(loaded.signatures)
    names = sorted(set(signatures) - _MARKS)
    if _SERVING in names:
        return signatures[_SERVING]
    if len(names) == 1:
        return signatures[names[0]]
    found = f"several signatures ({', '.join(names)}), none of them {_SERVING!r}" if names else "no signature"
    raise ModelError(f"{origin}: has {found}", f"export it with one signature named {_SERVING!r}")


def _specs(tensors: Any, origin: str) -> tuple[TensorSpec, ...]:
    tf = import_tensorflow()
    dense = (tf.TensorSpec, tf.Tensor)  # signatures of TensorFlow 1 give the tensors of their graph
    for name, tensor in tensors.items():
        if not isinstance(tensor, dense) or tensor.shape.rank is None:
            kind = type(tensor).__name__ if not isinstance(tensor, dense) else "a tensor of unknown rank"
            raise ModelError(f"{origin}: {name!r} is {kind}, and TFLite needs dense tensors of known rank", _AGAIN)
    return tuple(
        TensorSpec(name, tuple(tensors[name].shape.as_list()), tensors[name].dtype.name) for name in sorted(tensors)
    )


def _refuse_scalars(inputs: tuple[TensorSpec, ...], origin: str) -> None:
    for spec in inputs:
        if not spec.shape:
            raise ModelError(
                f"{origin}: input {spec.name!r} is a single value, without a batch axis",
                "export it with that value as a constant, or as a tensor with one value a sample",
            )


def digest(path: Path) -> str:
    """SHA-256 of a folder: the sorted relative names, each with the bytes of its file."""
    sha = hashlib.sha256()
    for file in sorted(item for item in path.rglob("*") if item.is_file()):
        sha.update(file.relative_to(path).as_posix().encode() + b"\0")
        sha.update(hashlib.sha256(file.read_bytes()).digest())
    return sha.hexdigest()


def _check(path: Path, origin: str) -> None:
    """Refuse operations that reach out of the graph in anything that loading or the signatures can run."""
    import_tensorflow()
    DecodeError = importlib.import_module("google.protobuf.message").DecodeError  # noqa: N806
    from tensorflow.core.protobuf import saved_model_pb2

    proto = saved_model_pb2.SavedModel()
    try:
        proto.ParseFromString((path / "saved_model.pb").read_bytes())
    except (OSError, DecodeError) as cause:
        raise ModelError(f"{origin}: its saved_model.pb is damaged ({line_of(cause)})", _AGAIN) from cause
    if not proto.meta_graphs:
        raise ModelError(f"{origin}: its saved_model.pb holds no graph", _AGAIN)
    for graph in proto.meta_graphs:
        for node, restoring in _runnable(graph):
            _refuse_operation(node.op, node.name, restoring, origin)


def reaches_out(operation: str) -> bool:
    """True for an operation that touches files, the network, the console or Python."""
    return bool(_REACHES_OUT.fullmatch(operation) or _CHECKPOINT.fullmatch(operation))


def _refuse_operation(operation: str, name: str, restoring: bool, origin: str) -> None:
    if reaches_out(operation) and not (restoring and _RESTORES.fullmatch(operation)):
        raise ModelError(
            f"{origin}: operation {operation} ({name}) reaches files, the network, the console or Python",
            "export the model without it; only if you trust where the folder comes from: --trust (trust=True)",
        )


def _runnable(graph: Any) -> Iterator[tuple[Any, bool]]:
    """Every node that loading or calling can run, and whether only the restoring of variables runs it."""
    functions = {function.signature.name: function for function in graph.graph_def.library.function}
    nodes = {node.name: node for node in graph.graph_def.node}
    tensors = [info.name for signature in graph.signature_def.values() for info in signature.outputs.values()]
    initial = [name for collection in graph.collection_def.values() for name in collection.node_list.value]
    called = list(graph.object_graph_def.concrete_functions)
    for restoring, roots, names in (
        (False, _upstream([*tensors, *initial], nodes), called),
        (True, _upstream([graph.saver_def.restore_op_name], nodes), []),
    ):
        for node in _expanded(roots, names, functions):
            yield node, restoring


def _upstream(names: Iterable[str], nodes: dict[str, Any]) -> list[Any]:
    pending, seen = [_node_name(name) for name in names], set()
    while pending:
        name = pending.pop()
        if name in seen or name not in nodes:
            continue
        seen.add(name)
        pending += [_node_name(source) for source in nodes[name].input]
    return [nodes[name] for name in sorted(seen)]


def _expanded(roots: list[Any], names: list[str], functions: dict[str, Any]) -> Iterator[Any]:
    """Nodes, and all nodes of the functions that they call, to any depth."""
    pending, seen = list(names), set()
    for node in roots:
        yield node
        pending += _called(node)
    while pending:
        name = pending.pop()
        if name in seen or name not in functions:
            continue
        seen.add(name)
        for node in functions[name].node_def:
            yield node
            pending += _called(node)


def _called(node: Any) -> list[str]:
    values = [value for attribute in node.attr.values() for value in (attribute.func, *attribute.list.func)]
    return [node.op, *(value.name for value in values if value.name)]


def _node_name(tensor: str) -> str:
    return tensor.lstrip("^").split(":")[0]
