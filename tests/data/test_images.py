"""Folders of images: layout, size, color, orientation, and files that are not what they say."""

import numpy as np
import pytest

from edgekit.dataset import load_dataset
from edgekit.errors import DataError

Image = pytest.importorskip("PIL.Image")


def picture(path, size=(6, 4), color=(10, 20, 30), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path, **options)
    return path


@pytest.fixture
def animals(tmp_path):
    """Two classes of twelve files, written in no order."""
    for index in reversed(range(12)):
        for number, name in enumerate(("cat", "ant")):
            picture(tmp_path / "animals" / name / f"{index:02}.png", color=(index, number, 0))
    return tmp_path / "animals"


def test_class_folders_become_samples_in_sorted_order(animals):
    (animals / "cat" / ".DS_Store").write_bytes(b"litter")
    overrides = {"test_fraction": 0, "validation_fraction": 0}
    dataset = load_dataset(animals, overrides=overrides)
    part = dataset.part("train")
    assert dataset.class_names == ("ant", "cat")
    assert part.inputs[0].shape[1:] == (4, 6, 3)
    assert part.inputs[0].dtype == np.uint8
    assert np.array_equal(part.inputs[0][:, 0, 0, 1] == 0, part.labels[0] == 1)
    assert dataset.fingerprint == load_dataset(animals, overrides=overrides).fingerprint


def test_part_folders_are_parts(tmp_path):
    for part, count in (("train", 9), ("val", 2), ("test", 3), ("calibration", 4)):
        for name in ("a", "b"):
            for index in range(count):
                picture(tmp_path / part / name / f"{index}.jpg")
    dataset = load_dataset(tmp_path)
    assert {part.name: len(part) for part in dataset.parts} == {
        "train": 18,
        "validation": 4,
        "calibration": 8,
        "test": 6,
    }


def test_size_and_color_are_options(animals):
    overrides = {"images.size": [8, 5], "images.color": "gray"}
    part = load_dataset(animals, overrides=overrides).part("train")
    assert part.inputs[0].shape[1:] == (8, 5, 1)


def test_crop_keeps_the_middle_and_stretch_keeps_everything(tmp_path):
    wide = Image.new("RGB", (30, 10), "white")
    wide.paste("black", (0, 0, 10, 10))
    (tmp_path / "d" / "a").mkdir(parents=True)
    wide.save(tmp_path / "d" / "a" / "0.png")
    darkest = {
        fit: load_dataset(tmp_path / "d", overrides={"images.size": [10, 10], "images.fit": fit})
        .parts[0]
        .inputs[0]
        .min()
        for fit in ("crop", "stretch")
    }
    assert darkest["crop"] > 200 > 50 > darkest["stretch"]


def test_pictures_stand_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by a quarter
    picture(tmp_path / "d" / "a" / "0.jpg", size=(6, 4), exif=exif)
    assert load_dataset(tmp_path / "d").parts[0].inputs[0].shape[1:3] == (6, 4)


def test_files_of_two_sizes_need_one(animals):
    picture(animals / "cat" / "zz.png", size=(7, 7))
    with pytest.raises(DataError, match=r"zz\.png is 7x7, 00\.png is 4x6") as caught:
        load_dataset(animals)
    assert "images.size" in caught.value.mend


def _truncated(folder):
    file = picture(folder / "cat" / "bad.png", size=(64, 64))
    file.write_bytes(file.read_bytes()[:60])


def _deep(folder):
    Image.fromarray(np.full((4, 6), 40_000, np.uint16)).save(folder / "cat" / "bad.png")


def _bomb(folder):
    header = picture(folder / "cat" / "bad.bmp").read_bytes()
    forged = header[:18] + (200_000).to_bytes(4, "little") * 2 + header[26:]
    (folder / "cat" / "bad.bmp").write_bytes(forged)


@pytest.mark.parametrize(
    ("spoil", "name"),
    [
        (_truncated, "bad.png"),
        (_deep, "bad.png"),
        (_bomb, "bad.bmp"),
        (lambda folder: (folder / "cat" / "bad.png").write_text("no image"), "bad.png"),
        (lambda folder: (folder / "cat" / "empty.png").touch(), "empty.png"),
        (lambda folder: (folder / "cat" / "notes.txt").touch(), "notes.txt"),
        (lambda folder: (folder / "readme.md").touch(), "readme.md"),
        (lambda folder: (folder / "cat" / "loop").symlink_to(folder), "loop"),
        (lambda folder: (folder / "cat" / "self.png").symlink_to("self.png"), "self.png"),
        (lambda folder: (folder / "again").symlink_to(folder), "again"),
        (lambda folder: picture(folder / "cat" / "kittens" / "0.png"), "kittens"),
    ],
)
def test_the_file_at_fault_is_named(animals, spoil, name):
    spoil(animals)
    with pytest.raises(DataError) as caught:
        load_dataset(animals)
    assert name in caught.value.problem
    assert caught.value.mend


def test_an_empty_folder_says_what_should_be_there(tmp_path):
    with pytest.raises(DataError, match="no class folders"):
        load_dataset(tmp_path)


def test_the_folder_of_one_class_is_answered_with_the_one_above(animals):
    with pytest.raises(DataError, match="no folders of classes") as error:
        load_dataset(animals / "cat")
    assert error.value.mend == f"give the folder above, {animals}"


def test_classes_of_the_specification_number_the_folders(animals):
    overrides = {"classes": ["cat", "eel", "ant"], "test_fraction": 0, "validation_fraction": 0}
    dataset = load_dataset(animals, overrides=overrides)
    assert dataset.class_names == ("cat", "eel", "ant")
    for part in dataset.parts:
        assert np.array_equal(part.labels[0], part.inputs[0][:, 0, 0, 1].astype(int) * 2)
    with pytest.raises(DataError, match="the folder 'ant' is not among the classes") as caught:
        load_dataset(animals, overrides={"classes": ["cat", "ants"]})
    assert "did you mean 'ants'" in caught.value.mend


def test_as_many_classes_of_which_none_is_a_folder_are_other_names_for_them(animals):
    dataset = load_dataset(animals, overrides={"classes": ["formica", "felis"], "test_fraction": 0})
    assert dataset.class_names == ("formica", "felis")
    for part in dataset.parts:
        assert np.array_equal(part.labels[0], 1 - part.inputs[0][:, 0, 0, 1].astype(int))
