"""Random values are valid for what an input seems to be; the user's own arrays are taken only where they fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.ondevice.errors import OnDeviceError
from edgekit.ondevice.profiler.inputs import digest, load_samples, random_samples
from edgekit.ondevice.runtimes.model import Tensor


def tensor(name: str, shape: tuple[int, ...], dtype: Any, vocabulary: int | None = None) -> Tensor:
    return Tensor(name, shape, np.dtype(dtype), (0.5, 3) if np.dtype(dtype) == np.int8 else None, vocabulary)


BERT = [
    tensor("input_ids", (1, 64), np.int64, 1000),
    tensor("attention_mask", (1, 64), np.int64),
    tensor("token_type_ids", (1, 64), np.int64, 2),
    tensor("position_ids", (1, 64), np.int64, 512),
]
IMAGE = [tensor("image", (1, 4, 4, 3), np.float32)]


def test_texts_stay_inside_the_vocabulary_and_end_in_padding() -> None:
    samples, notes = random_samples(BERT, 200, seed=0)
    ids = np.concatenate([sample["input_ids"] for sample in samples])
    mask = np.concatenate([sample["attention_mask"] for sample in samples])
    assert ids.min() == 0
    assert 990 < ids.max() <= 999
    assert np.array_equal(ids > 0, mask == 1)
    assert np.array_equal(mask, np.sort(mask, axis=1)[:, ::-1])
    lengths = mask.sum(axis=1)
    assert 16 <= lengths.min() < 24
    assert 56 < lengths.max() <= 64
    assert not any(sample["token_type_ids"].any() for sample in samples)
    assert samples[0]["position_ids"][0].tolist() == list(range(64))
    assert all(sample[t.name].dtype == t.dtype and sample[t.name].shape == t.shape for sample in samples for t in BERT)
    assert notes == [
        "random values: input_ids token ids 1 to 999; attention_mask ones, then a padded tail of zeros; "
        "token_type_ids zeros; position_ids 0, 1, 2, …"
    ]


def test_without_a_known_vocabulary_ids_are_low_and_that_is_said() -> None:
    ids = [tensor("words", (1, 500), np.int32)]
    samples, (note,) = random_samples(ids, 5, seed=0)
    assert {int(s["words"].min()) for s in samples} == {1}
    assert max(int(s["words"].max()) for s in samples) == 99
    assert note.endswith("words token ids 1 to 99 (the vocabulary's size is unknown)")
    samples, (note,) = random_samples(ids, 5, seed=0, vocabulary=30)
    assert max(int(s["words"].max()) for s in samples) == 29
    assert note.endswith("words token ids 1 to 29")


def test_where_one_input_looks_up_tokens_an_integer_input_without_a_table_is_its_mask() -> None:
    inputs = [tensor("serving_default_a:0", (1, 32), np.int32, 40), tensor("serving_default_b:0", (1, 32), np.int32)]
    samples, _ = random_samples(inputs, 20, seed=1)
    for sample in samples:
        assert np.array_equal(sample["serving_default_a:0"] > 0, sample["serving_default_b:0"] == 1)


def test_images_and_sounds_cover_their_types() -> None:
    inputs = [
        tensor("u8", (1, 64, 64, 3), np.uint8), tensor("i8", (1, 64, 64, 3), np.int8),
        tensor("f32", (1, 64, 64, 3), np.float32), tensor("f16", (1, 64, 64), np.float16),
        tensor("flag", (40,), np.bool_), tensor("embedding", (1, 256), np.float32, 10_000),
        tensor("scalar", (), np.int64),
    ]  # fmt: skip
    (sample, *_), (note,) = random_samples(inputs, 3, seed=2)
    assert (sample["u8"].min(), sample["u8"].max()) == (0, 255)
    assert (sample["i8"].min(), sample["i8"].max()) == (-128, 127)
    for name in ("f32", "f16"):
        assert 0 <= sample[name].min() < 0.01 < 0.99 < sample[name].max() <= 1
    assert sample["flag"].dtype == np.bool_
    assert set(sample["flag"].tolist()) == {False, True}
    assert np.array_equal(sample["embedding"], np.round(sample["embedding"]))
    assert 5000 < sample["embedding"].max() < 10_000
    assert sample["scalar"].shape == ()
    assert "i8 all its integers" in note
    assert "embedding token ids 1 to 9999" in note


def test_text_itself_is_not_invented() -> None:
    with pytest.raises(OnDeviceError, match=r"input words: \|S1 is not fed with random values; give --samples FILE"):
        random_samples([tensor("words", (1,), np.dtype("S1"))], 1, 0)


def test_the_same_seed_gives_the_same_samples_and_digest() -> None:
    one, two, three = (random_samples(BERT, 4, seed)[0] for seed in (5, 5, 6))
    assert digest(one) == digest(two) != digest(three)
    assert len(digest(one)) == 64
    assert digest(one) != digest(one[:3])
    value = np.arange(6, dtype=np.int32)
    digests = {
        digest([{"a": value}]), digest([{"b": value}]), digest([{"a": value.reshape(2, 3)}]),
        digest([{"a": value.astype(np.int64)}]), digest([{"a": value.view(np.uint32)}]),
    }  # fmt: skip
    assert len(digests) == 5
    assert digest([{"a": value[::2]}]) == digest([{"a": value[::2].copy()}])


@pytest.mark.parametrize("shape", [(7, 4, 4, 3), (7, 1, 4, 4, 3)])
def test_a_single_input_comes_from_an_npy(tmp_path: Path, shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).random(shape)
    np.save(tmp_path / "s.npy", array)
    samples = load_samples(tmp_path / "s.npy", IMAGE)
    assert len(samples) == 7
    assert all(sample["image"].dtype == np.float32 and sample["image"].shape == (1, 4, 4, 3) for sample in samples)
    assert np.array_equal(samples[3]["image"].reshape(4, 4, 3), array[3].reshape(4, 4, 3).astype(np.float32))


def test_several_inputs_come_from_an_npz(tmp_path: Path) -> None:
    arrays = {t.name: np.full((3, 64), place) for place, t in enumerate(BERT)}
    np.savez(tmp_path / "s.npz", **arrays)
    samples = load_samples(tmp_path / "s.npz", BERT)
    assert [sample["token_type_ids"][0, 0] for sample in samples] == [2, 2, 2]
    assert samples[0]["input_ids"].shape == (1, 64)


@pytest.mark.parametrize(
    ("array", "complaint"),
    [
        (
            np.zeros((2, 5, 4, 3)),
            r"input image: found float64 \[2, 5, 4, 3\], expected float32 \[samples, 4, 4, 3\]",
        ),
        (np.zeros((4, 4, 3)), r"input image: found float64 \[4, 4, 3\], expected"),
        (np.float32(1), r"input image: found float32 \[\], expected"),
        (np.zeros((0, 4, 4, 3)), "no samples"),
        (np.zeros((1, 4, 4, 3), np.complex64), "input image: found complex64, expected float32"),
        (np.array([None]), "not an array file, or cut short"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(tmp_path: Path, array: np.ndarray, complaint: str) -> None:
    np.save(tmp_path / "s.npy", array, allow_pickle=True)
    with pytest.raises(OnDeviceError, match=rf"s\.npy: {complaint}"):
        load_samples(tmp_path / "s.npy", IMAGE)


def test_values_are_never_bent_to_fit(tmp_path: Path) -> None:
    np.save(tmp_path / "s.npy", np.full((2, 8), 2**40))
    with pytest.raises(OnDeviceError, match=r"input a: values from 1099511627776 to .*expected int32"):
        load_samples(tmp_path / "s.npy", [tensor("a", (1, 8), np.int32)])
    np.save(tmp_path / "s.npy", np.zeros((2, 8)))
    with pytest.raises(
        OnDeviceError, match=r"found float64, expected int8; quantise them with scale 0\.5, zero point 3"
    ):
        load_samples(tmp_path / "s.npy", [tensor("a", (1, 8), np.int8)])


def test_files_that_are_no_samples_are_refused(tmp_path: Path) -> None:
    two = [tensor("a", (1, 2), np.float32), tensor("b", (1, 2), np.float32)]
    np.save(tmp_path / "s.npy", np.zeros((1, 2)))
    with pytest.raises(OnDeviceError, match=r"the model has inputs a, b; give an \.npz with them"):
        load_samples(tmp_path / "s.npy", two)
    np.savez(tmp_path / "c.npz", a=np.zeros((1, 2)), c=np.zeros((1, 2)))
    with pytest.raises(OnDeviceError, match=r"c\.npz: found arrays a, c; expected a, b"):
        load_samples(tmp_path / "c.npz", two)
    np.savez(tmp_path / "d.npz", a=np.zeros((1, 2)), b=np.zeros((3, 2)))
    with pytest.raises(OnDeviceError, match=r"d\.npz: samples per input differ: a 1, b 3"):
        load_samples(tmp_path / "d.npz", two)
    with pytest.raises(OnDeviceError, match=r"none\.npz: cannot be read: No such file or directory"):
        load_samples(tmp_path / "none.npz", two)
    with pytest.raises(OnDeviceError, match=r"samples are \.npz .* or \.npy"):
        load_samples(tmp_path / "s.csv", two)
    whole = (tmp_path / "d.npz").read_bytes()
    for kept in (0, 3, len(whole) // 2, len(whole) - 3):
        (tmp_path / "e.npz").write_bytes(whole[:kept])
        with pytest.raises(OnDeviceError, match=r"e\.npz: not an array file, or cut short") as caught:
            load_samples(tmp_path / "e.npz", two)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", ["(99999999999, 99999999)", "(3,", "("])
def test_a_header_that_lies_is_one_line(tmp_path: Path, shape: str) -> None:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode())
    with pytest.raises(OnDeviceError, match=r"x\.npy: not an array file, or cut short"):
        load_samples(tmp_path / "x.npy", [Tensor("x", (1, 3), np.dtype(np.float32))])
