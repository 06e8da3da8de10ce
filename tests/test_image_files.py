"""Where images lie: folders, tables, arrays; and what is said of those that cannot be used."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from edgekit.errors import ConfigError
from edgekit.tasks.image_files import find_images, read_arrays


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def said(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        find_images(path)
    return str(caught.value)


def test_a_folder_per_class(tmp_path: Path) -> None:
    touch(tmp_path / "cat" / "1.png", tmp_path / "cat" / "deep" / "2.JPG", tmp_path / "dog" / "1.png")
    touch(tmp_path / "dog" / "notes.txt", tmp_path / ".hidden" / "x.png")
    listing = find_images(tmp_path)
    found = [(file.relative_to(tmp_path).as_posix(), label) for file, label in listing.splits["all"]]
    assert found == [("cat/1.png", "cat"), ("cat/deep/2.JPG", "cat"), ("dog/1.png", "dog")]
    assert listing.notes == (f"1 files are no images by their names and left out: {tmp_path / 'dog' / 'notes.txt'}",)


def test_splits_above_the_classes(tmp_path: Path) -> None:
    for split in ("Train", "val", "test"):
        touch(tmp_path / split / "cat" / "1.png", tmp_path / split / "dog" / "1.png")
    touch(tmp_path / "extra" / "1.png")
    listing = find_images(tmp_path)
    assert {split: len(listed) for split, listed in listing.splits.items()} == {"train": 2, "validation": 2, "test": 2}
    assert listing.notes == (f"{tmp_path}: extra beside the splits left out",)


@pytest.mark.parametrize(("first", "second"), [("trian", "test"), ("val", "test"), ("cat", "Test")])
def test_splits_without_one_to_train_on_are_no_classes(first: str, second: str, tmp_path: Path) -> None:
    for split in (first, second):
        touch(tmp_path / split / "cat" / "1.png", tmp_path / split / "dog" / "1.png")
    found = ", ".join(sorted((f"{first}/", f"{second}/")))
    assert said(tmp_path) == f"{tmp_path}: no train folder; found {found}; possible: train/, or a folder for each class"


def test_a_class_may_be_called_like_a_split(tmp_path: Path) -> None:
    touch(tmp_path / "test" / "1.png", tmp_path / "quiz" / "1.png", tmp_path / "test" / "notes" / "1.txt")
    assert find_images(tmp_path).labels == {"quiz", "test"}


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    for name in (b"cat/\xff.png", b"cat/\xff.txt", b"dog/1.png"):
        touch(tmp_path / os.fsdecode(name))
    listing = find_images(tmp_path)
    assert len(listing.splits["all"]) == 2
    assert listing.notes[0].endswith("?.txt")
    touch(tmp_path / os.fsdecode(b"c\xe4t/1.png"))
    line = f"{tmp_path}: class folder 'c\\udce4t': its name is not UTF-8; possible: another name"
    assert said(tmp_path) == line


def test_half_a_character_in_a_label_is_replaced(tmp_path: Path) -> None:
    touch(tmp_path / "1.png")
    (tmp_path / "a.jsonl").write_text('{"path": "1.png", "label": "cat\\ud83d"}')
    assert find_images(tmp_path / "a.jsonl").labels == {"cat?"}


def test_a_table_of_paths(tmp_path: Path) -> None:
    touch(tmp_path / "a" / "1.png", tmp_path / "a" / "2.png")
    (tmp_path / "all.csv").write_text("file,label\na/1.png,cat\na/2.png,dog\n")
    listing = find_images(tmp_path / "all.csv")
    assert [(file.name, label) for file, label in listing.splits["all"]] == [("1.png", "cat"), ("2.png", "dog")]
    assert listing.tables == (tmp_path / "all.csv",)
    (tmp_path / "bare.csv").write_text("cat,a/1.png\ndog,a/2.png\n")
    assert find_images(tmp_path / "bare.csv").splits == listing.splits
    (tmp_path / "more.csv").write_text("path,kind,other\na/1.png,cat,x\na/2.png,dog,y\n")
    assert find_images(tmp_path / "more.csv", "kind").splits == listing.splits
    touch(tmp_path / "folders" / "cat" / "1.png")
    for column, place, message in (
        ("kin", "more.csv", "no label column 'kin'; did you mean 'kind'?"),
        ("kind", "folders", "tables have columns"),
        (None, "more.csv", "no label column (label"),
    ):
        with pytest.raises(ConfigError) as caught:
            find_images(tmp_path / place, column)
        assert message in str(caught.value)


def test_what_is_wrong_is_named_and_counted(tmp_path: Path) -> None:
    (tmp_path / "all.csv").write_text("file,label\n" + "".join(f"{n}.png,cat\n" for n in range(7)) + "x.png,\n")
    message = said(tmp_path / "all.csv")
    assert "1 of 8 rows have no file or no label" in message
    assert f"8 of 8 images are missing, relative to {tmp_path}: 0.png, 1.png, 2.png, 3.png, 4.png and 3 more" in message
    (tmp_path / "names.csv").write_text("a,b\n1,2\n")
    assert "no path column (path, file, filename, file name …); its columns: a, b" in said(tmp_path / "names.csv")
    (tmp_path / "loose").mkdir()
    touch(tmp_path / "loose" / "1.png")
    assert "1 images in it, and no folder; expected a folder for each class" in said(tmp_path / "loose")
    (tmp_path / "empty" / "cat").mkdir(parents=True)
    assert "class 'cat' has no image" in said(tmp_path / "empty")
    touch(tmp_path / "data.zip")
    assert f"unzip -q {tmp_path / 'data.zip'} -d {tmp_path / 'data'}" in said(tmp_path / "data.zip")


def test_arrays(tmp_path: Path) -> None:
    grey = np.arange(32, dtype=np.uint8).reshape(2, 4, 4)
    np.savez(tmp_path / "a.npz", x_train=grey, y_train=np.array([[3], [1]]), x_val=grey / 255, y_val=["a", "b"], x=grey)
    found, notes = read_arrays(tmp_path / "a.npz")
    assert set(found) == {"train", "validation"}
    np.testing.assert_array_equal(found["train"][0], grey[..., None])
    np.testing.assert_array_equal(found["validation"][0], grey[..., None])
    assert (found["train"][1], found["validation"][1]) == (["3", "1"], ["a", "b"])
    assert notes == ("x_val: fractions 0 to 1 became bytes",)
    np.savez(tmp_path / "b.npz", x=np.zeros((2, 4, 4, 4), np.int64) + 9, y=[0, 1])
    images, notes = read_arrays(tmp_path / "b.npz")
    assert images["all"][0].shape == (2, 4, 4, 3)
    assert notes == ("x: the fourth channel, alpha, is dropped",)


@pytest.mark.parametrize(
    ("arrays", "line"),
    [
        ({"images": np.zeros((2, 4, 4))}, "found arrays images; expected x_train and y_train, or x and y"),
        ({"x": np.zeros((2, 4)), "y": [0, 1]}, r"x: found float64 [2, 4], expected [n, height, width]"),
        ({"x": np.full((2, 4, 4), -3.0), "y": [0, 1]}, "x: values from -3 to -3; expected bytes 0 to 255"),
        ({"x": np.zeros((2, 4, 4)), "y": np.eye(2)}, "expected a number or a name for each of 2 images"),
        ({"x": np.zeros((2, 4, 4)), "y": 3}, "y: found int64 [], expected a number or a name for each of 2 images"),
        ({"x": np.zeros((2, 4, 4)), "y": []}, "y: found float64 [0], expected a number or a name for each of 2 images"),
        ({"x": np.full((2, 4, 4), "a"), "y": [0, 1]}, "x: found <U1; expected numbers"),
        ({}, "found no arrays with names; expected x_train"),
    ],
)
def test_arrays_that_are_no_images(arrays: dict[str, object], line: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(ConfigError) as caught:
        read_arrays(tmp_path / "a.npz")
    assert line in str(caught.value)


def member(header: str) -> bytes:
    """A .npy without a value."""
    return b"\x93NUMPY\x01\x00" + (len(header) + 1).to_bytes(2, "little") + header.encode() + b"\n"


FLOATS = "{'descr': '<f4', 'fortran_order': False, 'shape': (%s,)}"


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (member(FLOATS % 10**16), "cannot be read as arrays: "),
        (member(FLOATS % "("), "cannot be read as arrays: "),
        (member("{'descr': (), 'fortran_order': False, 'shape': (1,)}"), "cannot be read as arrays: "),
        (member("{1: 2, 'a': 3}"), "cannot be read as arrays: "),
        (b"no array", "found arrays y; expected x_train and y_train, or x and y"),
    ],
)
def test_arrays_that_are_damaged(content: bytes, line: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", y=[0, 1])
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive:
        archive.writestr("x.npy", content)
    with pytest.raises(ConfigError) as caught:
        read_arrays(tmp_path / "a.npz")
    assert str(caught.value).startswith(f"{tmp_path / 'a.npz'}: {line}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (6, 0x20),  # a flag: the data are a patch
        (8, 99),  # how it is packed
        (150, 0xFF),  # the packed data
    ],
)
def test_archives_that_are_damaged(at: int, value: int, tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.savez_compressed(stream, x=np.random.default_rng(0).integers(0, 255, (2, 9, 9), np.uint8), y=[0, 1])
    content = bytearray(stream.getvalue())
    content[at] = value
    if at < 30:  # stands in the list at the end too
        content[content.index(b"PK\x01\x02") + at + 2] = value
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ConfigError, match="cannot be read as arrays: "):
        read_arrays(tmp_path / "a.npz")


def test_a_lone_array_is_no_archive(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 4, 4)))
    (tmp_path / "a.npy").rename(tmp_path / "a.npz")
    with pytest.raises(ConfigError, match="found no arrays with names"):
        read_arrays(tmp_path / "a.npz")


def test_pickled_arrays_are_not_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.array([{"code": 1}], dtype=object), y=[0])
    with pytest.raises(ConfigError, match="cannot be read as arrays: Object arrays cannot be loaded"):
        read_arrays(tmp_path / "a.npz")
    (tmp_path / "b.npz").write_bytes(b"PK\x03\x04 no")
    with pytest.raises(ConfigError, match="cannot be read as arrays"):
        read_arrays(tmp_path / "b.npz")
