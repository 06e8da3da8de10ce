from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from edgekit.errors import ConfigError
from edgekit.modelfiles.arrays import LONE, find_files, read_arrays, read_headers


def test_headers_say_what_the_arrays_are_before_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "c.npz"
    np.savez(path, a=np.zeros((3, 2), np.float32), b=np.arange(3, dtype=np.int64))
    assert {name: str(header) for name, header in read_headers(path).items()} == {
        "a": "float32 [3, 2]",
        "b": "int64 [3]",
    }
    assert read_arrays(path)["b"].tolist() == [0, 1, 2]


def test_compressed_files_and_lone_arrays(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "c.npz", a=np.full((50, 40), 7))
    np.save(tmp_path / "x.npy", np.ones((4, 5), np.uint8))
    assert read_headers(tmp_path / "c.npz")["a"].shape == (50, 40)
    assert read_headers(tmp_path / "x.npy")[LONE].shape == (4, 5)
    assert read_arrays(tmp_path / "x.npy")[LONE].sum() == 20


def test_a_folder_is_an_npy_for_each_name_or_npz_that_are_joined(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    np.save(one / "a.npy", np.zeros((3, 2)))
    np.save(one / "b.npy", np.zeros(3))
    assert set(read_arrays(one)) == set(read_headers(one)) == {"a", "b"}
    np.savez(two / "1.npz", a=np.zeros((3, 2)))
    np.savez(two / "2.npz", a=np.ones((4, 2)))
    assert read_headers(two)["a"].shape == read_arrays(two)["a"].shape == (7, 2)
    assert read_arrays(two)["a"][:, 0].tolist() == [0, 0, 0, 1, 1, 1, 1]


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        read_headers(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_parts_that_do_not_join(tmp_path: Path) -> None:
    np.savez(tmp_path / "1.npz", a=np.zeros((3, 2)))
    np.savez(tmp_path / "2.npz", a=np.zeros((3, 4)))
    assert refusal(tmp_path).endswith("2.npz: a: found float64 [3, 4]; 1.npz has float64 [3, 2]")
    np.savez(tmp_path / "2.npz", b=np.zeros((3, 2)))
    assert refusal(tmp_path).endswith("2.npz: found arrays b; 1.npz has a")
    np.save(tmp_path / "x.npy", np.zeros(3))
    with pytest.raises(ConfigError, match=r"has \.npz and \.npy"):
        find_files(tmp_path)


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('ran')",)


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "o.npy"
    np.save(path, np.array([Evil()], dtype=object), allow_pickle=True)
    assert "pickles, so they are not read" in refusal(path)
    with pytest.raises(ConfigError):
        read_arrays(path)
    (tmp_path / "p.npy").write_bytes(pickle.dumps(Evil()))
    assert "damaged" in refusal(tmp_path / "p.npy")


@pytest.mark.parametrize("kept", [0, 5, 60, 300, -40])
def test_files_that_are_cut_off(tmp_path: Path, kept: int) -> None:
    np.savez(tmp_path / "c.npz", a=np.zeros((30, 20)))
    np.save(tmp_path / "c.npy", np.zeros((30, 20)))
    for name in ("c.npz", "c.npy"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / f"cut-{name}").write_bytes(content[:kept])
        assert "damaged or cut off" in refusal(tmp_path / f"cut-{name}")


def test_a_header_that_promises_more_than_there_is(tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": (10**9, 10**6)})
    (tmp_path / "x.npy").write_bytes(stream.getvalue())
    assert "bytes where its header says 4000000000000" in refusal(tmp_path / "x.npy")


@pytest.mark.parametrize(
    "header", ["{'descr': (), 'fortran_order': False, 'shape': (1,)}", "{1: 2, 'a': 3}", "{[]: 1}"]
)
def test_headers_of_another_form(tmp_path: Path, header: str) -> None:
    path = tmp_path / "x.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + (len(header) + 1).to_bytes(2, "little") + header.encode() + b"\n")
    assert "damaged or cut off" in refusal(path)
    with pytest.raises(ConfigError, match="damaged or cut off"):
        read_arrays(path)


def test_damage_in_what_another_program_has_packed(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.npy", bytes(range(256)) * 9)
    content = bytearray((tmp_path / "x.npz").read_bytes())
    content[39] ^= 0xFF  # of the LZMA properties
    (tmp_path / "x.npz").write_bytes(content)
    assert "damaged or cut off" in refusal(tmp_path / "x.npz")


def test_words_single_numbers_and_empty_archives_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "w.npy", np.array(["a"]))
    assert "found <U1; expected numbers" in refusal(tmp_path / "w.npy")
    np.save(tmp_path / "s.npy", np.float32(3))
    assert "a single number" in refusal(tmp_path / "s.npy")
    with zipfile.ZipFile(tmp_path / "e.npz", "w"):
        pass
    assert "holds no arrays" in refusal(tmp_path / "e.npz")
