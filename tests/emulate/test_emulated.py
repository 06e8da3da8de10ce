"""Real counts under QEMU, with real wheels, of a bundle made here.

Needs QEMU, gcc and mmdebstrap, and the network once: userland and wheels stay in edgekit's cache.
"""

from __future__ import annotations

import json
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.artifact import Artifact
from edgekit.bundle import pack
from edgekit.emulate.count import count_instructions
from edgekit.emulate.document import Instructions
from edgekit.errors import ProfileError

TOOLS = {"qemu-aarch64": "qemu-user", "cc": "gcc", "mmdebstrap": "mmdebstrap"}
MISSING = [package for command, package in TOOLS.items() if not shutil.which(command)]

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(bool(MISSING), reason=f"needs apt-get install {' '.join(MISSING)}"),
]

BUCKETS = (8, 16)
WIDTH = 256
TEXTS = ["w1", "w2 w3 w4", "w5 w6 w7 w8 w9 w10 w11 w12", "w13 w14 w15 w16 w17 w18 w19 w20 w21 w22 w23 w24"]


def write_model(path: Path) -> None:
    """A .tflite with a bundle's signatures: token vectors, four dense layers with INT8 weights, their mean, logits."""
    from edgekit.stages.twin import import_keras

    tf, _ = import_keras()
    rng = np.random.default_rng(0)

    def weights(*shape: int) -> Any:
        return tf.constant(rng.normal(0, shape[0] ** -0.5, shape).astype(np.float32))

    table, layers, head = weights(30, WIDTH), [weights(WIDTH, WIDTH) for _ in range(4)], weights(WIDTH, 2)

    def signature(tokens: int) -> Any:
        def answer(input_ids: Any, attention_mask: Any) -> dict[str, Any]:
            state = tf.reshape(tf.gather(table, input_ids), [tokens, WIDTH])
            for layer in layers:
                state = tf.nn.relu(tf.matmul(state, layer))
            mask = tf.cast(tf.reshape(attention_mask, [1, tokens]), tf.float32)
            return {"logits": tf.matmul(tf.matmul(mask, state), head)}

        specs = {name: tf.TensorSpec([1, tokens], tf.int32, name=name) for name in ("input_ids", "attention_mask")}
        return tf.function(answer, autograph=False).get_concrete_function(**specs)

    module = tf.Module()
    saved = path.parent / "saved"
    tf.saved_model.save(module, str(saved), signatures={f"tokens_{n}": signature(n) for n in BUCKETS})
    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved), signature_keys=[f"tokens_{n}" for n in BUCKETS])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    path.write_bytes(converter.convert())


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers

    from edgekit.ondevice.runtimes import litert

    place = tmp_path_factory.mktemp("emulated")
    for name in ("model", "report"):
        (place / name).mkdir()
    write_model(place / "model" / "model.tflite")
    words = Tokenizer(models.WordLevel({"[PAD]": 0, **{f"w{n}": n for n in range(1, 30)}}, "[PAD]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.save(str(place / "model" / "tokenizer.json"))
    answer = litert.load(place / "model" / "model.tflite", BUCKETS, "CPU", 1)
    ids = [np.array([words.encode(text).ids], np.int32) for text in TEXTS]
    samples = [
        {"text": text, "logits": answer(row, np.ones_like(row)).tolist()} for text, row in zip(TEXTS, ids, strict=True)
    ]
    golden = {"schema": 1, "tolerance": 0.001, "texts": list(TEXTS), "samples": samples}
    (place / "report" / "golden.json").write_text(json.dumps(golden))
    version = litert.version()
    options = {"runtime": "litert", "runtime_version": version, "device": "CPU", "threads": 2, "buckets": BUCKETS}
    metrics = {"labels": ["bad", "good"], "splits": {}, "tolerance": 0.001, "runtime": {"version": version}}
    versions = {"tokenizers": metadata.version("tokenizers")}
    model = Artifact("quantize_tflite", "b" * 64, "tflite", place / "model", {}, (), {}, 0.0, "")
    report = Artifact("validate", "c" * 64, "report", place / "report", metrics, (), versions, 0.0, "")
    return pack(
        place / "dist" / "tiny-board", name="tiny-board", recipe={"schema": 1}, target={"arch": "aarch64"},
        steps=[(model, "quantize", {}), (report, "validate", options)],
        teacher={"name": "none", "licence": None}, sample_task=False,
    ).path  # fmt: skip


@pytest.fixture(scope="module")
def counted(bundle: Path) -> dict[str, Instructions]:
    return {core: count_instructions(bundle, core) for core in ("cortex-a72", "cortex-a76")}


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


def test_more_inferences_give_nearly_the_same_count(counted: dict[str, Instructions], bundle: Path) -> None:
    again = count_instructions(bundle, "cortex-a76", inferences=48, runs=1)
    assert again.spread_percent is None
    assert again.inferences == 48
    # Python goes on specialising its bytecode for long, so only the same number of inferences repeats exactly.
    assert again.counts.total == pytest.approx(counted["cortex-a76"].counts.total, rel=1e-3)
    assert again.counts.dot_product == counted["cortex-a76"].counts.dot_product


def test_a_model_file_is_counted_alone(bundle: Path, tmp_path: Path) -> None:
    model = shutil.copyfile(bundle / "model" / "model.tflite", tmp_path / "net.tflite")
    found = count_instructions(model, "cortex-a76", runs=1)
    assert (found.subject.kind, found.code, found.golden) == ("model", "edgekit", None)
    assert found.counts.dot_product > 0
    model.write_bytes(b"no model")
    with pytest.raises(ProfileError, match=r"^net\.tflite: does not run on an emulated cortex-a76: ai-edge-litert: "):
        count_instructions(model, "cortex-a76", runs=1)
