"""Tables and time series."""

import numpy as np
import pytest

from edgekit.dataset import load_dataset
from edgekit.errors import DataError

ALL = {"test_fraction": 0, "validation_fraction": 0, "calibration_samples": 1}


def table(path, rows, header="a,b,kind"):
    path.write_text("\n".join([header, *rows] if header else rows) + "\n")
    return path


def everything(dataset):
    """Inputs and labels of all parts together, sorted by the first value."""
    x = np.concatenate([part.inputs[0] for part in dataset.parts])
    y = np.concatenate([part.labels[0] for part in dataset.parts])
    order = np.argsort(x.reshape(len(x), -1)[:, 0], kind="stable")
    return x[order], y[order]


@pytest.mark.parametrize("header", ["a,b,kind", ""])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_rows_become_samples_and_the_last_column_labels(tmp_path, header, delimiter):
    rows = [f"{i}.5,{i * 2},{'xyz'[i % 3]}" for i in range(30)]
    path = table(tmp_path / "d.csv", rows, header)
    path.write_text(path.read_text().replace(",", delimiter))
    dataset = load_dataset(path)
    x, y = everything(dataset)
    assert dataset.class_names == ("x", "y", "z")
    assert np.array_equal(x, np.stack([np.arange(30) + 0.5, np.arange(30) * 2], axis=1).astype(np.float32))
    assert np.array_equal(y, np.arange(30) % 3)


def test_columns_are_chosen_by_name_or_number(tmp_path):
    rows = [f"{i % 2},{i}.25,id{i}" for i in range(20)]
    path = table(tmp_path / "d.csv", rows, "kind,size,serial")
    for label in ("kind", "0", 0):
        dataset = load_dataset(path, overrides={"csv.label": label, "csv.ignore": ["serial"]})
        assert dataset.parts[0].inputs[0].shape[1:] == (1,)
        assert dataset.task == "classification"
    with pytest.raises(DataError, match="no column 'knd'"):
        load_dataset(path, overrides={"csv.label": "knd"})


def test_without_labels_every_column_is_an_input(tmp_path):
    path = table(tmp_path / "d.csv", [f"{i},{i},{i}" for i in range(9)])
    assert load_dataset(path, overrides={"task": "none"}).parts[0].inputs[0].shape[1:] == (3,)
    assert load_dataset(path).parts[0].inputs[0].shape[1:] == (2,)


def test_files_of_a_folder_are_parts(tmp_path):
    for name, count in (("train", 40), ("test", 10)):
        table(tmp_path / f"{name}.csv", [f"{i},{i}.5,{i % 2}" for i in range(count)])
    dataset = load_dataset(tmp_path)
    assert len(dataset.part("test")) == 10
    assert sum(map(len, dataset.parts)) == 50


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a,b,y\n1,2,0\n\n1,red,0\n", ":4: column 'b' is 'red', not a number"),
        ("a,b,y\n1,2,0\n1,,0\n", ":3: column 'b' is empty"),
        ("a,b,y\n1,2,0\n1,2,\n", ":3: column 'y' is empty"),
        ("a,b,y\n1,2,0\n1_0,2,1\n", ":3: column 'a' is '1_0', not a number"),
        ("a,b,y\n1,2,0\n1,2\n", ":3: 2 cells, line 1 has 3"),
        ("a,a,y\n1,2,0\n", "same name"),
        ("a,b,y\n", "a header and no rows"),
        ("y\n1\n", "no column is left"),
        ("a,b,y\n1,nan,0\n1,2,1\n", "x has 1 values that are NaN"),
        ('a,b,y\n1,"2,0\n', "not valid CSV"),
        ("", "empty file"),
        ("\n\n", "empty"),
    ],
)
def test_the_cell_at_fault_is_named(tmp_path, text, problem):
    (tmp_path / "d.csv").write_text(text)
    with pytest.raises(DataError) as caught:
        load_dataset(tmp_path / "d.csv")
    assert problem in str(caught.value)


def test_windows_cover_rows_in_order(tmp_path):
    path = table(tmp_path / "d.csv", [f"{i},{-i},{i // 20}" for i in range(100)])
    x, y = everything(load_dataset(path, overrides={"csv.window": 10, "csv.label": "kind"}))
    assert x.shape == (10, 10, 2)
    assert np.array_equal(x[..., 0].ravel(), np.arange(100))
    assert np.array_equal(y, np.arange(10) // 2)


@pytest.mark.parametrize("stride", [1, 3, 5, 7, 10, 15])
def test_no_row_is_in_two_parts_however_windows_overlap(tmp_path, stride):
    path = table(tmp_path / "d.csv", [f"{i},{i % 7},{i % 2}" for i in range(400)])
    dataset = load_dataset(path, overrides={"csv.window": 10, "csv.stride": stride})
    rows = [set(part.inputs[0][..., 0].ravel().tolist()) for part in dataset.parts]
    assert len(rows) == 4
    assert sum(map(len, rows)) == len(set().union(*rows))
    for part in dataset.parts:
        assert np.array_equal(part.inputs[0][:, 1:, 0] - part.inputs[0][:, :-1, 0], np.ones((len(part), 9)))


def test_recordings_by_id_become_samples(tmp_path):
    rows = [f"r{i // 5},{i % 5},{i},{'up' if i // 5 % 2 else 'down'}" for i in range(100)]
    path = table(tmp_path / "d.csv", rows, "run,t,v,way")
    overrides = {"csv.id": "run", "csv.ignore": ["t"], "csv.label": "way"}
    x, y = everything(load_dataset(path, overrides=overrides))
    assert x.shape == (20, 5, 1)
    assert np.array_equal(x.ravel(), np.arange(100))
    assert np.array_equal(y, np.arange(20) % 2)
    windows, _ = everything(load_dataset(path, overrides={**overrides, "csv.window": 3}))
    assert windows.shape == (20, 3, 1)
    table(path, [*rows, "r99,0,1,up"], "run,t,v,way")
    with pytest.raises(DataError, match="'r99' has 1 rows, 'r0' has 5"):
        load_dataset(path, overrides=overrides)


def test_groups_stay_together(tmp_path):
    path = table(tmp_path / "d.csv", [f"p{i // 10},{i},{i % 2}" for i in range(200)], "patient,v,ill")
    dataset = load_dataset(path, overrides={"csv.group": "patient"})
    patients = [set((part.inputs[0][:, 0] // 10).tolist()) for part in dataset.parts]
    assert sum(map(len, patients)) == 20


def test_a_header_that_begins_like_an_archive_is_a_header(tmp_path):
    path = table(tmp_path / "d.csv", [f"{i}.5,{i % 3}" for i in range(30)], "PK,kind")
    assert load_dataset(path, overrides=ALL).task == "classification"


def test_a_file_that_is_no_part_is_named(tmp_path):
    table(tmp_path / "train.csv", [f"{i},{i}.5,{i % 2}" for i in range(9)])
    (tmp_path / "README.md").touch()
    with pytest.raises(DataError, match=r"README\.md: not the file of a part"):
        load_dataset(tmp_path)


def test_columns_of_several_files_go_by_name(tmp_path):
    """In the order of the training part, which the model knows."""
    table(tmp_path / "test.csv", [f"{i},{-i},{i % 2}" for i in range(9)])
    table(tmp_path / "train.csv", [f"{-i},{i},{i % 2}" for i in range(40)], "b,a,kind")
    for part in load_dataset(tmp_path).parts:
        assert (part.inputs[0][:, 0] <= 0).all()
        assert (part.inputs[0][:, 1] >= 0).all()
    table(tmp_path / "train.csv", [f"{i},{i},{i % 2}" for i in range(40)], "a,c,kind")
    with pytest.raises(DataError, match=r"test\.csv has the inputs a, b, train\.csv has a, c"):
        load_dataset(tmp_path)


def test_labels_are_text_in_all_files_if_they_are_in_one(tmp_path):
    table(tmp_path / "train.csv", [f"{i},{i}.5,{'12x'[i % 3]}" for i in range(60)])
    table(tmp_path / "test.csv", [f"{i},{i}.5,{i % 2 + 1}" for i in range(10)])
    dataset = load_dataset(tmp_path)
    assert dataset.class_names == ("1", "2", "x")
    assert np.array_equal(dataset.part("test").labels[0], np.arange(10) % 2)
