"""Archives: every key, and every way of being broken."""

import io
import pickle
import zipfile

import numpy as np
import pytest

from edgekit.data.npz import load_npz
from edgekit.dataset import load_dataset
from edgekit.errors import DataError

X = np.arange(48, dtype=np.float32).reshape(12, 2, 2)
Y = np.arange(12) % 3


def saved(path, **arrays):
    np.savez(path, **arrays)
    return path


def raw_entry(path, header, body=b"", *, deflate=False):
    """An archive whose one array has a header of our making."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, header)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if deflate else zipfile.ZIP_STORED) as archive:
        archive.writestr("x.npy", stream.getvalue() + body)
    return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_come_back_as_they_were(tmp_path, save, order):
    path = tmp_path / "d.npz"
    save(path, x_train=np.asarray(X, order=order), y_train=Y)
    part = load_npz(path).parts["train"]
    assert np.array_equal(part.inputs[""], X)
    assert np.array_equal(part.labels[""], Y)


def test_keys_name_parts_inputs_and_outputs(tmp_path):
    arrays = {"x_train.image": X, "x_train.depth": X, "y_train.near": Y, "y_train.far": Y, "x_val.image": X}
    arrays |= {"x_val.depth": X, "y_val.near": Y, "y_val.far": Y}
    raw = load_npz(saved(tmp_path / "d.npz", **arrays))
    assert set(raw.parts) == {"train", "validation"}
    assert list(raw.parts["train"].inputs) == ["image", "depth"]
    dataset = load_dataset(tmp_path / "d.npz")
    assert dataset.input_names == ("image", "depth")
    assert dataset.output_names == ("near", "far")


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ({"x_trian": X}, "did you mean 'x_train'"),
        ({"images": X, "labels": Y}, "has no meaning"),
        ({"x": X, "x_test": X}, "both split and unsplit"),
        ({"y_train": Y}, "labels and no inputs"),
        ({"x": X, "x.a": X}, "says again"),
        ({"x_val": X, "x_validation": X}, "says again"),
        ({"x": X, "y": Y[:-1]}, "y has 11"),
        ({"x": X[:0], "y": Y[:0]}, "no samples"),
        ({"x": np.float32(3)}, "single number"),
        ({"x": np.array(["a", "b"])}, "type <U1"),
        ({"x_train": X, "x_test": X[:, :1]}, "(12, 1, 2)"),
        ({"x_train": X, "y_train.a": Y, "x_test": X, "y_test.b": Y}, "different labels"),
    ],
)
def test_arrays_that_make_no_sense_are_named(tmp_path, arrays, problem):
    with pytest.raises(DataError) as caught:
        load_dataset(saved(tmp_path / "d.npz", **arrays))
    assert problem in str(caught.value)
    assert caught.value.mend


def test_nan_is_counted_and_located(tmp_path):
    x = X.copy()
    x[3, 1, 0] = np.nan
    x[7, 0, 1] = np.inf
    with pytest.raises(DataError, match=r"x has 2 values .* the first at \[3, 1, 0\]"):
        load_dataset(saved(tmp_path / "d.npz", x=x))
    with pytest.raises(DataError, match="beyond float32"):
        load_dataset(saved(tmp_path / "d.npz", x=X.astype(np.float64) * 1e300))


@pytest.mark.parametrize("header", ["{'descr': '<f4', 'shape': (", "{" * 200, "(" * 90, "1 +", "'" * 3, "\\", "{1: [}"])
def test_headers_that_are_no_python_are_refused(tmp_path, header):
    start = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()
    with zipfile.ZipFile(tmp_path / "d.npz", "w") as archive:
        archive.writestr("x.npy", start)
    with pytest.raises(DataError, match="not an array"):
        load_dataset(tmp_path / "d.npz")


def test_pickles_are_never_opened(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    path = tmp_path / "d.npz"
    np.savez(path, x=np.array([Evil(), 1], dtype=object))
    with pytest.raises(DataError, match="Python objects") as caught:
        load_dataset(path)
    assert "y.astype(str)" in caught.value.mend
    (tmp_path / "d.pkl").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(DataError, match="not a supported format"):
        load_dataset(tmp_path / "d.pkl")
    assert not (tmp_path / "ran").exists()


def test_forged_sizes_are_refused_before_memory_is_taken(tmp_path):
    huge = {"descr": "<f4", "fortran_order": False, "shape": (1 << 40,)}
    with pytest.raises(DataError, match="claims shape"):
        load_npz(raw_entry(tmp_path / "a.npz", huge))
    nothing = {"descr": "<U0", "fortran_order": False, "shape": (1 << 40,)}
    with pytest.raises(DataError):
        load_npz(raw_entry(tmp_path / "n.npz", nothing))
    overflow = {"descr": "<f4", "fortran_order": False, "shape": (0, 1 << 40, 1 << 40)}
    with pytest.raises(DataError):
        load_npz(raw_entry(tmp_path / "o.npz", overflow))
    negative = {"descr": "<f4", "fortran_order": False, "shape": (-1, 4)}
    with pytest.raises(DataError):
        load_npz(raw_entry(tmp_path / "b.npz", negative, b"1234"))
    path = raw_entry(tmp_path / "c.npz", {"descr": "<f4", "fortran_order": False, "shape": (256,)}, bytes(1024))
    content = path.read_bytes()
    forged = content.replace((1152).to_bytes(4, "little"), (0xF0000000).to_bytes(4, "little"))
    assert forged != content
    path.write_bytes(forged)
    with pytest.raises(DataError):
        load_npz(path)


@pytest.mark.parametrize("keep", [0, 3, 40, 0.5, 0.95])
def test_truncated_archives_are_named(tmp_path, keep):
    path = saved(tmp_path / "d.npz", x=X, y=Y)
    content = path.read_bytes()
    path.write_bytes(content[: keep if isinstance(keep, int) else int(len(content) * keep)])
    with pytest.raises(DataError, match=r"d\.npz"):
        load_dataset(path)


def test_a_flipped_bit_is_noticed(tmp_path):
    path = tmp_path / "d.npz"
    np.savez_compressed(path, x=np.random.default_rng(0).normal(size=(50, 4)))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        load_dataset(path)
