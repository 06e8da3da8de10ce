"""Real counts under QEMU, with real wheels, of a bundle made by the tests.

Needs QEMU, gcc and mmdebstrap, and the network once: userland and wheels stay in edgekit's cache.
"""

from __future__ import annotations

import shutil
from importlib import metadata
from pathlib import Path

import pytest
from tiny_bundle import BUCKETS, TEXTS, WIDTH

from edgekit.emulate.count import count_instructions
from edgekit.emulate.document import Instructions
from edgekit.errors import ProfileError

TOOLS = {"qemu-aarch64": "qemu-user", "cc": "gcc", "mmdebstrap": "mmdebstrap"}
MISSING = [package for command, package in TOOLS.items() if not shutil.which(command)]

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(bool(MISSING), reason=f"needs apt-get install {' '.join(MISSING)}"),
]


@pytest.fixture(scope="module")
def counted(tiny_bundle: Path) -> dict[str, Instructions]:
    return {core: count_instructions(tiny_bundle, core) for core in ("cortex-a72", "cortex-a76")}


@pytest.mark.parametrize("core", ["cortex-a72", "cortex-a76"])
def test_two_processes_count_the_same(counted: dict[str, Instructions], core: str) -> None:
    found = counted[core]
    assert found.runs == 2
    assert found.spread_percent is not None
    assert found.spread_percent <= 0.01


def test_int8_gains_by_the_dot_products_that_only_the_a76_has(counted: dict[str, Instructions]) -> None:
    a72, a76 = counted["cortex-a72"].counts, counted["cortex-a76"].counts
    assert a72.dot_product == 0
    assert a76.dot_product > 0
    assert a76.total < a72.total
    tokens = sum(next(n for n in BUCKETS if n >= len(text.split())) for text in TEXTS) / len(TEXTS)
    products_per_instruction = 16
    layers = 4 * WIDTH * WIDTH * tokens / products_per_instruction
    assert layers <= a76.dot_product <= 1.5 * layers, "each weight of the dense layers is used once per token"


@pytest.mark.parametrize("core", ["cortex-a72", "cortex-a76"])
def test_the_document_says_what_was_counted(counted: dict[str, Instructions], core: str) -> None:
    found = counted[core]
    counts = found.counts
    parts = (counts.integer, counts.dot_product, counts.simd_fp, counts.load_store, counts.branch)
    assert counts.total == pytest.approx(sum(parts))
    assert min(counts.integer, counts.simd_fp, counts.load_store, counts.branch) > 0
    assert (found.core, found.code, found.inferences, found.notes) == (core, "bundle", 16, [])
    assert found.subject.name == "tiny-board"
    assert found.subject.threads == 1, "the bundle asks for two"
    assert found.subject.runtime_version == metadata.version("ai-edge-litert")
    assert found.software["tokenizers"] == metadata.version("tokenizers")
    assert found.samples.count == len(TEXTS)
    assert found.golden is not None
    assert found.golden.agree == found.golden.of == len(TEXTS)


def test_more_inferences_give_nearly_the_same_count(counted: dict[str, Instructions], tiny_bundle: Path) -> None:
    again = count_instructions(tiny_bundle, "cortex-a76", inferences=48, runs=1)
    assert again.spread_percent is None
    assert again.inferences == 48
    # Python goes on specialising its bytecode for long, so only the same number of inferences repeats exactly.
    assert again.counts.total == pytest.approx(counted["cortex-a76"].counts.total, rel=1e-3)
    assert again.counts.dot_product == counted["cortex-a76"].counts.dot_product


def test_a_model_file_is_counted_alone(tiny_bundle: Path, tmp_path: Path) -> None:
    model = shutil.copyfile(tiny_bundle / "model" / "model.tflite", tmp_path / "net.tflite")
    found = count_instructions(model, "cortex-a76", runs=1)
    assert (found.subject.kind, found.code, found.golden) == ("model", "edgekit", None)
    assert found.counts.dot_product > 0
    model.write_bytes(b"no model")
    with pytest.raises(ProfileError, match=r"^net\.tflite: does not run on an emulated cortex-a76: ai-edge-litert: "):
        count_instructions(model, "cortex-a76", runs=1)
