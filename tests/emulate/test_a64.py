"""The plugin's classes: the classifier alone, and the whole plugin under QEMU on programs whose counts are known."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from a64_words import WORDS

from edgekit import emulate
from edgekit.emulate import probe
from edgekit.emulate.cores import CORES
from edgekit.emulate.qemu import CLASSES, QEMU, Emulator, open_emulator, run

SOURCES = Path(emulate.__file__).parent
needs_compiler = pytest.mark.skipif(not shutil.which("cc"), reason="needs cc: apt-get install gcc")
needs_qemu = pytest.mark.skipif(not shutil.which(QEMU), reason=f"needs {QEMU}: apt-get install qemu-user")


@pytest.fixture(scope="module")
def classify(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], str]:
    place = tmp_path_factory.mktemp("a64")
    (place / "a64.c").write_text('#include "a64.h"\nint class_of(uint32_t word) { return a64_classify(word); }\n')
    words = ["cc", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", f"-I{SOURCES}", "-o", place / "a64.so"]
    subprocess.run([*words, place / "a64.c"], check=True)
    found = ctypes.CDLL(str(place / "a64.so")).class_of
    found.argtypes = [ctypes.c_uint32]
    return lambda word: CLASSES[found(word)]


@needs_compiler
@pytest.mark.parametrize("name", WORDS)
def test_every_instruction_has_the_class_of_the_manuals_table(classify: Callable[[int], str], name: str) -> None:
    assert {text: classify(word) for text, word in WORDS[name].items()} == dict.fromkeys(WORDS[name], name)


@needs_compiler
def test_registers_do_not_change_the_class(classify: Callable[[int], str]) -> None:
    for name, words in WORDS.items():
        if name == "branch":
            continue  # some hold no register, and their low bits are immediates
        for word in words.values():
            assert {classify(word ^ low) for low in (0b11111, 0b11111 << 5)} == {name}


@needs_compiler
@pytest.mark.parametrize("api", [1, 2, 3])
def test_the_plugin_compiles_without_warnings_for_every_interface(tmp_path: Path, api: int) -> None:
    words = ["cc", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror", "-D_GNU_SOURCE", f"-DPLUGIN_API={api}"]
    for name in ("armcount.c", "entropy.c"):
        subprocess.run([*words, "-O2", "-fPIC", "-c", SOURCES / name, "-o", tmp_path / "x.o"], check=True)


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Emulator:
    return open_emulator(CORES["cortex-a76"], tmp_path_factory.mktemp("cache"))


@needs_compiler
@needs_qemu
def test_a_program_of_known_instructions_is_counted_exactly(emulator: Emulator, tmp_path: Path) -> None:
    times = {"integer": 7, "dot_product": 11, "simd_fp": 13, "load_store": 17, "branch": 19}
    program = tmp_path / "program"
    program.write_bytes(probe.program([probe.SAMPLE[name] for name, count in times.items() for _ in range(count)]))
    program.chmod(0o755)
    done, marks = run(emulator, CORES["cortex-a76"], [str(program)], tmp_path, {})
    assert (done.returncode, done.stdout) == (0, "")
    assert [(mark.tag, mark.threads) for mark in marks] == [(1, 1), (1, 1)]
    counted = dict(zip(CLASSES, (b - a for a, b in zip(*(m.counts for m in marks), strict=True)), strict=True))
    assert counted == {**times, "integer": 7 + probe.MARK_INTEGER, "branch": 19 + probe.MARK_BRANCH}


@needs_compiler
@needs_qemu
def test_a_loop_counts_each_of_its_rounds(emulator: Emulator, tmp_path: Path) -> None:
    rounds = 1000
    move, subtract_one, again_while_not_zero = 0xD2800000 | rounds << 5 | 1, 0xF1000421, 0x54FFFFE1
    program = tmp_path / "loop"
    program.write_bytes(probe.program([move, subtract_one, again_while_not_zero]))
    program.chmod(0o755)
    _, marks = run(emulator, CORES["cortex-a76"], [str(program)], tmp_path, {})
    integer, *_, branch = (b - a for a, b in zip(*(m.counts for m in marks), strict=True))
    assert integer == 1 + rounds + probe.MARK_INTEGER
    assert branch == rounds + probe.MARK_BRANCH


@needs_compiler
@needs_qemu
def test_a_core_without_dot_products_refuses_them(emulator: Emulator, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(probe.program([probe.SAMPLE["dot_product"]]))
    program.chmod(0o755)
    done, marks = run(emulator, CORES["cortex-a72"], [str(program)], tmp_path, {})
    assert done.returncode != 0
    assert len(marks) == 1
