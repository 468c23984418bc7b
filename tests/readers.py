"""Every reader of what comes from outside, with sound files to damage: for test_fuzz_readers.py."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import artifacts
import msgspec
import numpy as np
import tiny_models
from msgspec import structs
from PIL import Image

from edgekit.artifact import Artifact
from edgekit.bench.ask import _believed
from edgekit.bench.baseline import METRICS
from edgekit.bench.native import read_output
from edgekit.bench.plan import plan_for
from edgekit.bench.result import Results
from edgekit.bench.run import Turns, _mapped, measure
from edgekit.cli.gate_options import read_results
from edgekit.data.images import read_image
from edgekit.data.spec import Images
from edgekit.dataset import load_dataset
from edgekit.device.address import parse_address
from edgekit.device.devices_file import Entry
from edgekit.device.protocol import Completed
from edgekit.errors import InputError
from edgekit.limit import parse_limit
from edgekit.package.android_aar import Jar
from edgekit.package.archive import archive_bytes, zip_bytes
from edgekit.package.delta import apply_delta, make_delta
from edgekit.package.folder import KIND, standing
from edgekit.package.golden import golden_vectors
from edgekit.package.golden_file import load_vectors
from edgekit.package.link_map import read_link_map
from edgekit.package.source import open_source
from edgekit.package.verify_package import verify_package
from edgekit.recipe import Recipe
from edgekit.split.on_device import outputs_of
from edgekit.stages.observed import Observed, observed_from
from edgekit.strict_toml import load_tables
from edgekit.target import load_target
from edgekit.tflite.metadata import FileMetadata, read_metadata, write_metadata
from edgekit.tflite.metadata_edit import read_labels
from edgekit.tflite.metadata_schema import ModelMetadata

ROOT = Path(__file__).parent.parent
MODEL = tiny_models.negative()


@dataclass(frozen=True)
class Reader:
    """`read` is given the path of a file of this name, whose bytes were one of the `seeds` before they were damaged."""

    file: str
    seeds: Callable[[], list[bytes]]
    read: Callable[[Path], object]


def text(*seeds: str) -> Callable[[], list[bytes]]:
    return lambda: [seed.encode() for seed in seeds]


def files(*patterns: str) -> Callable[[], list[bytes]]:
    return lambda: [path.read_bytes() for pattern in patterns for path in sorted(ROOT.glob(pattern))]


def words(path: Path) -> str:
    """What is typed or printed is text, whatever the bytes."""
    return path.read_bytes().decode("utf-8", "replace")


def arrays() -> list[bytes]:
    found, x, y = [], np.arange(36, dtype=np.float32).reshape(12, 3), np.arange(12) % 2
    for columns in ({"x": x, "y": y}, {"x_train": x, "y_train": y, "x_test": np.asfortranarray(x), "y_test": y}):
        stream = io.BytesIO()
        np.savez(stream, **columns)
        found.append(stream.getvalue())
    return found


def columns() -> list[bytes]:
    found = []
    for array in (np.arange(12, dtype=np.float32).reshape(4, 3), np.zeros((0, 3), np.int8)):
        stream = io.BytesIO()
        np.save(stream, array)
        found.append(stream.getvalue())
    return [*found, found[0].replace(b"}", b" ")]


def answered() -> list[bytes]:
    stream = io.BytesIO()
    np.savez(stream, output0=np.zeros((4, 3), np.int8))
    return [stream.getvalue(), stream.getvalue().replace(b"}", b" ")]


def pictures() -> list[bytes]:
    found = []
    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"):
        stream = io.BytesIO()
        Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(stream, kind)
        found.append(stream.getvalue())
    return found


def manifest() -> list[bytes]:
    whole = structs.replace(artifacts.MANIFEST, file="m.tflite")
    return [msgspec.json.format(msgspec.json.encode(whole), indent=1)]


def package_manifest() -> bytes:
    facts = {"kind": KIND, "key": "k", "format_version": 1, "for": "linux", "name": "m", "version": "1.0.0"}
    tensor = {"name": "x", "dtype": "int8", "shape": [1, 4]}
    variant = {"unit": "cpu", "file": "m.tflite", "sha256": "0" * 64, "inputs": [tensor], "outputs": [tensor]}
    return json.dumps({**facts, "variants": [variant], "files": {"m.tflite": "0" * 64}}).encode()


def packages(suffix: str) -> Callable[[], list[bytes]]:
    return lambda: [archive_bytes(suffix, {"p/manifest.json": package_manifest(), "p/m.tflite": MODEL})]


@cache
def golden(suffix: str) -> list[bytes]:
    vectors = golden_vectors(MODEL)
    return [vectors.to_json() if suffix == ".json" else vectors.to_npz()]


def deltas() -> list[bytes]:
    return [make_delta(MODEL, MODEL[:40] + b"between" + MODEL[60:])]


def described() -> list[bytes]:
    return [write_metadata(MODEL, FileMetadata(ModelMetadata("m", "what it does"), "1.5.0", {"labels.txt": b"a\nb\n"}))]


def calibrations() -> list[bytes]:
    table = np.zeros((2, 2), np.float32)
    digest = artifacts.hashlib.sha256(MODEL).hexdigest()
    return [Observed(digest, 3, ("x", "y"), table, table, np.zeros(2, np.int32), np.zeros((2, 4), np.int64)).to_bytes()]


def answers() -> list[bytes]:
    runtime = {"name": "ai-edge-litert", "version": "2.3.0"}
    times = {"steady_ns": [[5, 6], [7, 8]], "turn_runs": [[1, 1], [2]]}
    none = {"delegations": [[], []], "delegate_partitions": [0, None]}
    fault = {"format_version": 1, "command": "alternate", "error": {"kind": "model", "message": "no"}}
    return [json.dumps(one).encode() for one in ({**fault, "error": None, "runtime": runtime, **times, **none}, fault)]


@cache
def results() -> list[bytes]:
    return [Results((measure(MODEL, plan_for(runs=5), name="m"),)).to_json()]


PRINTED = """INFO: Though XNNPACK delegate is applied, it is partially executed by the delegate w/ 3 delegate kernels.
INFO: count=153 first=4022 curr=2744 min=2614 max=7466 avg=3243.58 std=909 p5=2700 median=2900 p95=5000
INFO: count=337 first=2881 curr=2703 min=2605 max=20356 avg=2942.27 std=1190 p5=2647 median=2781 p95=3169
INFO: Inference timings in us: Init: 6395, First inference: 2761, Warmup (avg): 3243.58, Inference (avg): 2942.27
INFO: Memory footprint delta from the start of the tool (MB): init=39.4531 overall=40.8281
"""
DATA = """source = "a.npz"
format = "csv"
classes = ["a", "b"]
[preprocessing]
mean = [0.5]
[csv]
delimiter = ";"
header = "no"
window = 2
[heads.out]
task = "regression"
loss_weight = 0.5
"""
TABLE = """when,x,y,label
1,0.5,3,cat
2,1e-3,-4,dog
3,2,5,cat
4,7,8,dog
"""
DEVICES = """[pi]
address = "ssh://pi@board:22"
python = "/usr/bin/python3"
wait = 3.0
[phone]
address = "adb://usb:1-4.2"
"""

READERS: dict[str, Reader] = {
    "recipe": Reader("r.toml", files("examples/**/*.toml", "tests/invalid_recipes/*.toml"), Recipe.parse),
    "phrase": Reader(
        "phrase",
        text(
            "int8", "channels50-prune80-int8:epochs=5,one-shot", "int8:calibration=percentile:99.9,keep-float=ADD+MUL"
        ),
        lambda path: Recipe.parse(words(path)),
    ),
    "target": Reader("t.toml", files("targets/*.toml", "tests/invalid_targets/*.toml"), load_target),
    "limit": Reader("limit", text("p90>+5%", "p90>12ms", "peak>+3MiB"), lambda path: parse_limit(words(path), METRICS)),
    "data.toml": Reader("data.toml", text(DATA), load_dataset),
    "csv": Reader("d.csv", text(TABLE, TABLE.replace(",", ";"), "1\t2\n3\t4\n"), load_dataset),
    "npz": Reader("d.npz", arrays, load_dataset),
    "image": Reader("i.png", pictures, lambda path: read_image(path, Images((8, 8), fit="crop"))),
    "labels": Reader("labels.txt", text("cat\ndog\n"), read_labels),
    "devices": Reader("devices.toml", text(DEVICES), lambda path: load_tables(path, Entry, InputError)),
    "address": Reader(
        "address", text("ssh://pi@[fe80::1%eth0]:22/", "adb://R58"), lambda path: parse_address(words(path))
    ),
    "agent": Reader("answer", answers, lambda path: _believed(path, {"command": "alternate"}, Turns, "m", "pi")),
    "benchmark_model": Reader(
        "said", text(PRINTED), lambda path: read_output(Completed(0, words(path), ""), "m", "phone", 1.0)
    ),
    "outputs": Reader("o.npy", columns, lambda path: _mapped(path, "pi")),
    "outputs of a split": Reader("o.npz", answered, lambda path: outputs_of(path, 1, "pi")),
    "results": Reader("r.json", results, read_results),
    "artifact": Reader("manifest.json", manifest, lambda path: Artifact.load(path.parent)),
    "source": Reader("manifest.json", manifest, lambda path: open_source(path.parent).artifact()),
    "folder": Reader("manifest.json", lambda: [package_manifest()], lambda path: standing(path.parent, "k")),
    "package": Reader("manifest.json", lambda: [package_manifest()], lambda path: verify_package(path.parent)),
    **{f"package{one}": Reader(f"p{one}", packages(one), verify_package) for one in (".zip", ".tar", ".tar.gz")},
    "vectors.json": Reader("v.json", lambda: golden(".json"), load_vectors),
    "vectors.npz": Reader("v.npz", lambda: golden(".npz"), load_vectors),
    "delta": Reader("m.delta", deltas, lambda path: apply_delta(MODEL, path.read_bytes(), io.BytesIO())),
    "metadata": Reader("m.tflite", described, lambda path: read_metadata(path.read_bytes(), "m")),
    "calibration": Reader("m.calibration", calibrations, lambda path: observed_from(path.read_bytes(), MODEL)),
    "linker map": Reader("app.map", files("tests/package/link_maps/*.map"), read_link_map),
    "classes": Reader("c.aar", lambda: [zip_bytes({"classes.jar": b"PK", "R.txt": b""})], Jar.read),
}
