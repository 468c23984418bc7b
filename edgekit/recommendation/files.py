"""The files that a network becomes on a target, made with ranges of random samples, and what each takes."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from msgspec import structs

from edgekit.check.check import CheckResult
from edgekit.draft import random_samples
from edgekit.errors import RecipeError
from edgekit.graph.macs import Cost
from edgekit.model import TensorSpec
from edgekit.recommendation.technique import Size
from edgekit.source_check import check_file
from edgekit.stages.calibrate import Ranges, calibrate
from edgekit.stages.numerics import Quantize, Scheme, resolve_quantize
from edgekit.stages.quantize import CALIBRATED, Source, quantize
from edgekit.surgery.rewrite import rewrite, rules_for
from edgekit.target import Target
from edgekit.tflite.inspect import ModelContents, deflated_bytes, read_contents
from edgekit.tflite.surgery import pack, unpack

_WEIGHT_BYTES: dict[Scheme, int] = {"float32": 4, "float16": 2, "dynamic-int8": 1, "int8": 1, "int16x8": 1}
_DEFLATING = ThreadPoolExecutor(1, thread_name_prefix="deflate")
_NARROWEST = 2.0
_PRUNED = {"CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"}  # depthwise kernels stay dense


@dataclass(frozen=True)
class Draft:
    """A file with what it holds and what `check` says of it; `file` is empty where it is planned only.

    `without_download` is its size; deflating it goes on beside other work, until `size` is asked for.
    """

    file: bytes
    contents: ModelContents
    checked: CheckResult
    without_download: Size
    download: Future[int] | None = None

    @property
    def size(self) -> Size:
        """What it takes, the compressed file included where there is one."""
        if self.download is None:
            return self.without_download
        return structs.replace(self.without_download, download_bytes=self.download.result())

    @property
    def outside(self) -> float:
        """Share of the MACs that the target's first unit does not take; 0 where no unit is known."""
        if not self.checked.forecasts or not self.contents.macs:
            return 0.0
        left = {place.index for place in self.checked.forecasts[0].left}
        inner = (op for op in self.contents.operators if op.subgraph == 0 and op.index in left)
        return sum(op.macs for op in inner) / self.contents.macs

    @property
    def pieces(self) -> int:
        """In how many pieces the first unit of the target takes the graph."""
        return self.checked.forecasts[0].partitions if self.checked.forecasts else 0


class Network:
    """One network as a float32 file, from which every number format is made for a target."""

    def __init__(self, file: bytes, target: Target) -> None:
        self.file, self.target = file, target

    @cached_property
    def samples(self) -> list[np.ndarray[Any, Any]]:
        """A few random ones: their values set ranges, not operators, sizes or speed."""
        specs = [TensorSpec(one.name, one.shape, one.dtype) for one in read_contents(self.file).inputs]
        return [random_samples(spec, 1) for spec in specs]

    @cached_property
    def ranges(self) -> Ranges:
        """Of every activation, over the samples, none narrower than 2.

        Weights that were never trained give ranges so narrow that integer kernels refuse to prepare; equal ranges would
        hide where integers have to be rescaled.
        """
        found = calibrate(self.file, self.samples)
        return {
            name: (low, high) if high - low >= _NARROWEST else (-1.0, 1.0 + place / len(found))
            for place, (name, (low, high)) in enumerate(found.items())
        }

    def draft(self, scheme: Scheme) -> Draft:
        """The file in a number format. Raises RecipeError where the target does not run it, ModelError of an engine."""
        stage = resolve_quantize(Quantize(scheme), self.target)
        ranges = self.ranges if scheme in CALIBRATED else {}
        made = quantize(Source(self.file, ranges, _no_export, self.samples), stage)
        return drafted(rewrite(made).file if rules_for(self.target) else made, self.target)


def _no_export() -> Any:
    raise RecipeError("this engine starts from the Keras model", "take engine=litert")


def drafted(file: bytes, target: Target) -> Draft:
    """What a file takes on a target. Raises ModelError for bytes that are no sound TFLite file."""
    (checked,) = check_file(file, [target])
    contents, memory = read_contents(file), checked.memory
    ram = memory.arena_bytes + memory.states_bytes
    size = Size("converted", len(file), contents.macs, None, ram, memory.streamed_bytes)
    return Draft(file, contents, checked, size, _DEFLATING.submit(deflated_bytes, file))


def planned(before: Draft, old: Cost, new: Cost, scheme: Scheme) -> Draft:
    """What a file takes once its network costs `new` instead of `old`: computed, nothing is made."""
    gone, share = (old.parameters - new.parameters) * _WEIGHT_BYTES[scheme], new.macs / old.macs if old.macs else 1.0
    held, streamed = before.contents.parameter_bytes - gone, before.without_download.streamed_bytes
    operators = tuple(structs.replace(one, macs=round(one.macs * share)) for one in before.contents.operators)
    contents = structs.replace(
        before.contents,
        operators=operators,
        macs=sum(one.macs for one in operators),
        parameter_bytes=held,
        file_bytes=before.without_download.file_bytes - gone,
    )
    left = None if streamed is None else max(0, streamed - gone)
    size = Size("planned", contents.file_bytes, contents.macs, streamed_bytes=left)
    return Draft(b"", contents, before.checked, size)


def sparse(before: Draft, share: float, target: Target) -> Draft:
    """The file with the smallest `share` of the weights of each kernel at zero, as pruning at once would leave it."""
    tree = unpack(before.file)
    operators = [op for op in before.contents.operators if op.subgraph == 0]
    unpacked = {op.outputs[0]: op.inputs[0] for op in operators if op.name == "DEQUANTIZE"}  # float16 weights
    wanted = {op.inputs[1] for op in operators if op.name in _PRUNED}
    for index in {unpacked.get(one, one) for one in wanted}:
        tensor = before.contents.tensors[index]
        if tensor.constant_bytes and tensor.dtype in ("int8", "float16", "float32"):
            values = np.frombuffer(bytes(tree.buffers[tensor.buffer].data), tensor.dtype)
            tree.buffers[tensor.buffer].data = np.frombuffer(_without_smallest(values, share).tobytes(), np.uint8)
    return drafted(pack(tree), target)


def _without_smallest(values: np.ndarray[Any, Any], share: float) -> np.ndarray[Any, Any]:
    order = np.argsort(np.abs(values.astype(np.float32)), kind="stable")
    found = values.copy()
    found[order[: round(share * len(values))]] = 0
    return found
