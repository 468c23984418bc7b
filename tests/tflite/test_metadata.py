"""Metadata that others wrote are read whole, and others read what is written here."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tracemalloc
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from edgekit.bench.run import infer
from edgekit.errors import InputError, ModelError
from edgekit.tflite import metadata_schema as schema
from edgekit.tflite.inspect import read_contents
from edgekit.tflite.metadata import FileMetadata, read_metadata, with_files_of, write_metadata
from edgekit.tflite.metadata_codec import decode, encode
from edgekit.tflite.metadata_edit import Changes, Labels, Normalization, changed, read_labels

GOLDEN = (Path(__file__).parent / "metadata_goldens" / "written_by_tflite_support.tflite").read_bytes()
PLAIN = tiny_models.negative((1, 4))
NAMES = ("ant", "bee", "cow", "doe")


def _set(model: bytes, **told: Any) -> bytes:
    return write_metadata(model, changed(read_metadata(model), read_contents(model), Changes(**told)))


def _graph(model: bytes) -> schema.SubGraphMetadata:
    found = read_metadata(model).model
    assert found is not None
    return found.subgraph_metadata[0]


def test_what_tflite_support_wrote_is_read_whole() -> None:
    found = read_metadata(GOLDEN)
    assert found.model is not None
    assert (found.model.name, found.model.version, found.model.min_parser_version) == ("golden", "v1", "1.3.0")
    (entry,), (output,) = _graph(GOLDEN).input_tensor_metadata, _graph(GOLDEN).output_tensor_metadata
    image = schema.ImageProperties("RGB", schema.ImageSize(3, 5))
    assert entry.content == schema.Content(image, schema.ValueRange(-1, 2))
    assert [unit.options for unit in entry.process_units] == [
        schema.NormalizationOptions((1.0, 2.5), (0.5,)),
        schema.ScoreCalibrationOptions("INVERSE_LOGISTIC", 0.25),
    ]
    assert entry.stats == schema.Stats((4.0,), (-4.0,))
    assert output.content == schema.Content(schema.AudioProperties(16000, 2))
    assert [file.locale for file in output.associated_files] == ["", "de"]
    assert found.files == {"labels.txt": b"a\nb\nc\nd\n", "labels_de.txt": b"e\nf\ng\nh\n", "vocab.txt": b"x\n"}


def test_writing_back_what_others_wrote_loses_nothing() -> None:
    again = write_metadata(GOLDEN, read_metadata(GOLDEN))
    assert read_metadata(again) == read_metadata(GOLDEN)
    assert write_metadata(again, read_metadata(again)) == again


_WORDS = st.text("abc/é", max_size=4)
_FLOATS = st.lists(st.floats(width=32, allow_nan=False), max_size=3).map(tuple)
_FILES = st.builds(
    schema.AssociatedFile, name=_WORDS, type=st.sampled_from(["UNKNOWN", "VOCABULARY", "SCANN_INDEX_FILE"])
)
_UNITS = st.one_of(
    st.builds(schema.NormalizationOptions, mean=_FLOATS, std=_FLOATS),
    st.builds(schema.BertTokenizerOptions, vocab_file=st.tuples(_FILES)),
    st.none(),
).map(schema.ProcessUnit)
_BOXES = st.builds(schema.BoundingBoxProperties, index=st.tuples(st.integers(0, 2**32 - 1)))
_CONTENTS = st.builds(
    schema.Content,
    content_properties=st.one_of(st.just(schema.FeatureProperties()), _BOXES, st.none()),
    range=st.one_of(st.none(), st.builds(schema.ValueRange, st.integers(-(2**31), 2**31 - 1), st.just(0))),
)
_TENSORS = st.builds(
    schema.TensorMetadata, name=_WORDS, content=_CONTENTS, process_units=st.lists(_UNITS, max_size=2).map(tuple)
)
_GRAPHS = st.builds(
    schema.SubGraphMetadata,
    input_tensor_metadata=st.lists(_TENSORS, max_size=2).map(tuple),
    custom_metadata=st.tuples(st.builds(schema.CustomMetadata, name=_WORDS, data=st.binary(max_size=20))),
)
_MODELS = st.builds(
    schema.ModelMetadata, name=_WORDS, subgraph_metadata=st.tuples(_GRAPHS), associated_files=st.tuples(_FILES)
)


@settings(max_examples=150, deadline=None)
@given(_MODELS)
def test_reading_is_the_inverse_of_writing(metadata: schema.ModelMetadata) -> None:
    assert decode(encode(metadata)) == metadata


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(GOLDEN) - 1), st.integers(0, 255))
def test_a_damaged_byte_is_an_error_or_other_metadata_and_no_other_exception(place: int, value: int) -> None:
    damaged = bytearray(GOLDEN)
    damaged[place] = value
    with suppress(ModelError):
        assert isinstance(read_metadata(bytes(damaged)), FileMetadata)


def test_vectors_that_share_their_elements_do_not_multiply() -> None:
    """A file of a few KB in which 400 graphs of 400 tensors of 400 units are one and the same."""
    import flatbuffers

    builder = flatbuffers.Builder(0)
    builder.StartObject(1)
    shared = builder.EndObject()
    for slot, slots in ((4, 7), (2, 10), (3, 8)):
        builder.StartVector(4, 400, 4)
        for _ in range(400):
            builder.PrependUOffsetTRelative(shared)
        vector = builder.EndVector()
        builder.StartObject(slots)
        builder.PrependUOffsetTRelativeSlot(slot, vector, 0)
        shared = builder.EndObject()
    builder.Finish(shared, b"M001")
    with pytest.raises(ValueError, match="more elements than they have bytes"):
        decode(bytes(builder.Output()))


def test_a_field_of_a_newer_schema_is_refused_and_not_lost() -> None:
    import flatbuffers

    builder = flatbuffers.Builder(0)
    word = builder.CreateString("of the future")
    builder.StartObject(9)
    builder.PrependUOffsetTRelativeSlot(8, word, 0)
    builder.Finish(builder.EndObject(), b"M001")
    with pytest.raises(ValueError, match=r"ModelMetadata has a field that schema 1.5.0 does not have"):
        decode(bytes(builder.Output()))


def test_no_output_changes_and_the_file_opens_as_a_zip(tiny_cnn: Path) -> None:
    model = (tiny_cnn / "tiny.tflite").read_bytes()
    made = _set(model, name="tiny", labels=Labels(NAMES), normalization=Normalization((8.0,), (16.0,)))
    x = np.random.default_rng(0).random((4, 16, 16, 3), np.float32)
    np.testing.assert_array_equal(infer(made, [x]).outputs[0], infer(model, [x]).outputs[0])
    with zipfile.ZipFile(io.BytesIO(made)) as archive:
        assert archive.testzip() is None
        assert archive.read("labels.txt").decode().split() == list(NAMES)
        (info,) = archive.infolist()
        assert made[info.header_offset :].startswith(b"PK\x03\x04")
        assert info.compress_type == zipfile.ZIP_STORED


def test_the_same_changes_give_the_same_bytes_and_a_second_time_nothing_new() -> None:
    told = {"name": "n", "labels": Labels(NAMES), "normalization": Normalization((1.0,), (2.0,))}
    made = _set(PLAIN, **told)
    assert _set(PLAIN, **told) == made
    assert _set(made, **told) == made


def test_only_what_is_told_changes() -> None:
    before, after = read_metadata(GOLDEN), read_metadata(_set(GOLDEN, author="b", description="d"))
    assert before.model is not None
    assert after == structs.replace(before, model=structs.replace(before.model, author="b", description="d"))


def test_new_labels_replace_the_old_and_leave_those_of_other_languages() -> None:
    made = _set(GOLDEN, labels=Labels(NAMES, "animals.txt"))
    files = _graph(made).output_tensor_metadata[0].associated_files
    assert [(file.name, file.locale) for file in files] == [("animals.txt", ""), ("labels_de.txt", "de")]
    assert list(read_metadata(made).files) == ["animals.txt", "labels_de.txt", "vocab.txt"]


def test_a_new_normalization_leaves_the_other_steps() -> None:
    units = _graph(_set(GOLDEN, normalization=Normalization((0.0,), (255.0,)))).input_tensor_metadata[0].process_units
    assert [type(unit.options).__name__ for unit in units] == ["NormalizationOptions", "ScoreCalibrationOptions"]
    assert units[0].options == schema.NormalizationOptions((0.0,), (255.0,))


def test_an_image_has_the_range_of_its_pixels() -> None:
    image = tiny_models.negative((1, 2, 2, 3))
    (entry,) = _graph(_set(image, normalization=Normalization((127.5,), (127.5, 255.0, -127.5)))).input_tensor_metadata
    assert entry.content == schema.Content(schema.ImageProperties("RGB"))
    assert entry.stats == schema.Stats((1.0, 0.5, 1.0), (-1.0, -0.5, -1.0))


def test_the_runtime_version_that_a_converter_wrote_is_read_and_kept(tiny_cnn: Path) -> None:
    float_file = (tiny_cnn / "tiny.tflite").read_bytes()
    found = read_metadata(float_file)
    assert found.min_runtime_version.split(".")[0] in {"1", "2"}
    kept = read_metadata(_set(float_file, name="n"))
    assert (kept.min_runtime_version, kept.others) == (found.min_runtime_version, found.others)
    assert read_metadata(_set(float_file, min_runtime_version="2.15.0")).min_runtime_version == "2.15.0"


@pytest.mark.parametrize(
    ("told", "problem"),
    [
        ({"labels": Labels(NAMES[:3])}, r"3 labels for the output 't1', whose last axis has 4 places"),
        ({"normalization": Normalization((1.0, 2.0), (1.0,))}, r"--mean has 2 numbers, the input 't0' has 4 channels"),
        ({"normalization": Normalization((1.0,), (0.0,))}, "--std of 0"),
        ({"content": "image"}, r"shape \[1, 4\] is no image"),
        ({"labels": Labels(NAMES), "output": "t7"}, "no output 't7'"),
        ({"labels": Labels(NAMES, "vocab.txt")}, None),
    ],
)
def test_what_does_not_fit_is_refused_with_the_numbers(told: dict[str, Any], problem: str | None) -> None:
    if problem is None:
        assert read_metadata(_set(PLAIN, **told)).files["vocab.txt"]
        return
    with pytest.raises(InputError, match=problem):
        _set(PLAIN, **told)


def test_a_label_file_of_another_tensor_is_not_overwritten() -> None:
    with pytest.raises(InputError, match=r"'vocab.txt' is in use"):
        _set(GOLDEN, labels=Labels(NAMES, "vocab.txt"))


def test_files_that_are_named_must_be_there() -> None:
    found = read_metadata(GOLDEN)
    with pytest.raises(ModelError, match=r"vocab\.txt"):
        write_metadata(GOLDEN, structs.replace(found, files={"labels.txt": b"", "labels_de.txt": b""}))


def test_an_empty_line_among_labels_is_told(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(b"\xef\xbb\xbfant\r\nbee\r\n\r\n")
    assert read_labels(path) == ("ant", "bee")
    path.write_text("ant\n\nbee\n")
    with pytest.raises(InputError, match="line 2 is empty"):
        read_labels(path)


@pytest.mark.parametrize(
    ("metadata", "version"),
    [
        (schema.ModelMetadata(), "1.0.0"),
        (schema.ModelMetadata(associated_files=(schema.AssociatedFile("v", type="VOCABULARY"),)), "1.0.1"),
        (schema.ModelMetadata(associated_files=(schema.AssociatedFile("v", version="2"),)), "1.4.1"),
        (
            schema.ModelMetadata(
                subgraph_metadata=(schema.SubGraphMetadata(custom_metadata=(schema.CustomMetadata("c"),)),)
            ),
            "1.5.0",
        ),
    ],
)
def test_the_parser_that_is_needed_follows_from_what_is_filled(metadata: schema.ModelMetadata, version: str) -> None:
    assert schema.min_parser_version(metadata) == version


def test_files_of_the_field_are_read_as_inspect_sees_them(shared_data: Path) -> None:
    paths = sorted(shared_data.glob("models/**/*.tflite"))
    assert paths
    for path in paths:
        found, contents = read_metadata(path.read_bytes()), read_contents(path)
        assert bool(found.min_runtime_version) == ("min_runtime_version" in contents.metadata)
        assert set(found.others) == set(contents.metadata) - {"min_runtime_version"}


def test_an_int8_file_of_the_field_computes_the_same(shared_data: Path) -> None:
    model = (shared_data / "models" / "mlperf_tiny_ic" / "pretrainedResnet_quant.tflite").read_bytes()
    made = _set(model, labels=Labels(tuple(map(str, range(10)))), normalization=Normalization((0.0,), (1.0,)))
    x = np.random.default_rng(0).integers(-128, 128, (3, 32, 32, 3), np.int8)
    np.testing.assert_array_equal(infer(made, [x]).outputs[0], infer(model, [x]).outputs[0])


def _read_by(module: str, code: str, *words: object) -> Any:
    """What the reader of another project makes of a file, in a process of its own (it may need another Python)."""
    python = os.environ.get(f"EDGEKIT_{module.upper()}_PYTHON", sys.executable)
    probe = subprocess.run([python, "-c", f"import {module}"], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip(f"{module} is not installed; EDGEKIT_{module.upper()}_PYTHON names a Python that has it")
    done = subprocess.run([python, "-c", code, *map(str, words)], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


_DISPLAYER = """
import json, sys
from tflite_support import metadata
shown = metadata.MetadataDisplayer.with_model_file(sys.argv[1])
names = shown.get_packed_associated_file_list()
files = {name: shown.get_associated_file_buffer(name).decode() for name in names}
print(json.dumps({"metadata": json.loads(shown.get_metadata_json()), "files": files}))
"""


def test_tflite_support_reads_what_is_written_here(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(_set(GOLDEN, name="mine", labels=Labels(NAMES, "animals.txt")))
    found = _read_by("tflite_support", _DISPLAYER, path)
    assert found["files"]["animals.txt"].split() == list(NAMES)
    assert found["metadata"]["name"] == "mine"
    assert found["metadata"]["min_parser_version"] == "1.3.0"
    (graph,) = found["metadata"]["subgraph_metadata"]
    first = graph["input_tensor_metadata"][0]["process_units"][0]["options"]
    assert first == {"mean": [1.0, 2.5], "std": [0.5]}
    assert graph["output_tensor_metadata"][0]["associated_files"][0]["name"] == "animals.txt"


_CLASSIFIER = """
import json, sys
import numpy as np
import mediapipe
from mediapipe.tasks.python import BaseOptions, vision
options = vision.ImageClassifierOptions(BaseOptions(model_asset_path=sys.argv[1]))
pixels = np.load(sys.argv[2])
with vision.ImageClassifier.create_from_options(options) as classifier:
    found = classifier.classify(mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=pixels))
print(json.dumps({one.category_name: one.score for one in found.classifications[0].categories}))
"""


def test_mediapipe_classifies_with_what_is_written_here(tiny_cnn: Path, tmp_path: Path) -> None:
    """Its task takes normalization, kind of input and labels from the metadata, and refuses a file without them."""
    model = (tiny_cnn / "tiny.tflite").read_bytes()
    made = _set(model, labels=Labels(NAMES), normalization=Normalization((127.5,), (63.75,)))
    (tmp_path / "model.tflite").write_bytes(made)
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    np.save(tmp_path / "pixels.npy", pixels)
    found = _read_by("mediapipe", _CLASSIFIER, tmp_path / "model.tflite", tmp_path / "pixels.npy")
    expected = infer(model, [((pixels[None] - 127.5) / 63.75).astype(np.float32)]).outputs[0][0]
    np.testing.assert_allclose([found[name] for name in NAMES], expected, atol=1e-4)


def test_files_of_another_model_do_not_join_those_that_are_there() -> None:
    own, other = (write_metadata(PLAIN, FileMetadata(files={name: b"ant"})) for name in ("own.txt", "other.txt"))
    assert with_files_of(own, other) == own
    assert read_metadata(with_files_of(PLAIN, other)).files == {"other.txt": b"ant"}


def test_metadata_of_nothing_are_nothing() -> None:
    assert read_metadata(PLAIN) == FileMetadata()


def test_an_empty_runtime_version_takes_the_entry_away() -> None:
    told = _set(PLAIN, min_runtime_version="2.15.0")
    assert read_metadata(_set(told, min_runtime_version="")).min_runtime_version == ""
    assert read_metadata(_set(told, name="n")).min_runtime_version == "2.15.0"


def _zipped(data: bytes, method: int, claimed: int) -> bytes:
    whole = io.BytesIO(PLAIN)
    with zipfile.ZipFile(whole, "a", method) as archive:
        archive.writestr("labels.txt", data)
        archive.filelist[0].file_size, archive.filelist[0].CRC = claimed, zlib.crc32(data[:claimed])
    return whole.getvalue()


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_files_packed_in_a_way_without_bounds_are_refused(method: int) -> None:
    with pytest.raises(ModelError, match="neither stored nor deflated"):
        read_metadata(_zipped(b"ant", method, 3))


def test_no_more_is_inflated_than_a_file_claims() -> None:
    model = _zipped(bytes(32 << 20), zipfile.ZIP_DEFLATED, 8)
    tracemalloc.start()
    with suppress(ModelError):
        read_metadata(model)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 4 << 20
