"""A small but real LiteRT bundle: INT8 weights, two buckets, a tokenizer, golden samples of this machine."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.artifact import Artifact
from edgekit.bundle import pack

HERE = Path(__file__).parent
BUCKETS = (8, 16)
WIDTH = 256
TEXTS = ["w1", "w2 w3 w4", "w5 w6 w7 w8 w9 w10 w11 w12", "w13 w14 w15 w16 w17 w18 w19 w20 w21 w22 w23 w24"]
TOLERANCE = 0.001


def write_model(path: Path, width: int = WIDTH) -> None:
    """A .tflite with a bundle's signatures: token vectors, four dense layers with INT8 weights, their mean, logits."""
    from edgekit.stages.keras.twin import import_keras

    tf, _ = import_keras()
    rng = np.random.default_rng(0)

    def weights(*shape: int) -> Any:
        return tf.constant(rng.normal(0, shape[0] ** -0.5, shape).astype(np.float32))

    table, layers, head = weights(30, width), [weights(width, width) for _ in range(4)], weights(width, 2)

    def signature(tokens: int) -> Any:
        def answer(input_ids: Any, attention_mask: Any) -> dict[str, Any]:
            state = tf.reshape(tf.gather(table, input_ids), [tokens, width])
            for layer in layers:
                state = tf.nn.relu(tf.matmul(state, layer))
            mask = tf.cast(tf.reshape(attention_mask, [1, tokens]), tf.float32)
            return {"logits": tf.matmul(tf.matmul(mask, state), head)}

        specs = {name: tf.TensorSpec([1, tokens], tf.int32, name=name) for name in ("input_ids", "attention_mask")}
        return tf.function(answer, autograph=False).get_concrete_function(**specs)

    module = tf.Module()
    saved = path.parent.with_name(f"{path.parent.name}-saved")
    tf.saved_model.save(module, str(saved), signatures={f"tokens_{n}": signature(n) for n in BUCKETS})
    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved), signature_keys=[f"tokens_{n}" for n in BUCKETS])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    path.write_bytes(converter.convert())


def make_artifact(place: Path, width: int = WIDTH) -> Path:
    """The folder of a model and its tokenizer, to be packed once or more."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    model = place / "model"
    model.mkdir(parents=True)
    path = model / "model.tflite"
    # In a process of its own: once TensorFlow is loaded, tflite-runtime crashes in the same process.
    code = f"from tiny_bundle import write_model; from pathlib import Path; write_model(Path({str(path)!r}), {width})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=HERE, check=False)
    assert done.returncode == 0, done.stderr
    words = Tokenizer(models.WordLevel({"[PAD]": 0, **{f"w{n}": n for n in range(1, 30)}}, "[PAD]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.save(str(model / "tokenizer.json"))
    return model


def pack_tiny(
    model: Path, folder: Path, *, arch: str = "aarch64", labels: Sequence[str] = ("bad", "good"), error: float = 0.0,
    wheels: Artifact | None = None,
) -> Path:  # fmt: skip
    """A bundle of `make_artifact`'s folder at `folder`. `error` is added to a golden logit: a wrong promise."""
    from tokenizers import Tokenizer

    from edgekit.ondevice.runtimes import litert

    report = folder.with_name(f"{folder.name}-report")
    report.mkdir(parents=True)
    answer = litert.load(model / "model.tflite", BUCKETS, "CPU", 1)
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    ids = [np.array([tokenizer.encode(text).ids], np.int32) for text in TEXTS]
    logits = [answer(row, np.ones_like(row)).tolist() for row in ids]
    logits[0][0] += error
    samples = [{"input": text, "outputs": [row]} for text, row in zip(TEXTS, logits, strict=True)]
    golden = {"schema": 1, "tolerance": TOLERANCE, "inputs": list(TEXTS), "samples": samples}
    (report / "golden.json").write_text(json.dumps(golden))
    version = litert.version()
    options = {"runtime": "litert", "runtime_version": version, "device": "CPU", "threads": 2, "buckets": BUCKETS}
    described = {"labels": list(labels), "tokenizer": "tokenizer.json", "buckets": list(BUCKETS)}
    metrics = {
        "task": "text_classification", "metric": "accuracy", "described": described, "splits": {},
        "needs": {"tokenizers": metadata.version("tokenizers")}, "tolerance": TOLERANCE,
        "runtime": {"package": litert.PACKAGE, "version": version, "device": "CPU"},
    }  # fmt: skip
    quantized = Artifact("quantize_tflite", "b" * 64, "tflite", model, {}, (), {}, 0.0, "")
    validated = Artifact("validate", "c" * 64, "report", report, metrics, (), {}, 0.0, "")
    return pack(
        folder, name=folder.name, recipe={"schema": 1}, target={"arch": arch},
        steps=[(quantized, "quantize", {}), (validated, "validate", options)],
        teacher={"name": "none", "licence": None}, sample_task=False, wheels=wheels,
    ).path  # fmt: skip


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `pack_tiny` takes. It takes TensorFlow, so tests that use it are heavy."""
    return make_artifact(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_bundle(tiny_model: Path) -> Path:
    """A bundle for an aarch64 device, by the name of tiny-board."""
    return pack_tiny(tiny_model, tiny_model.parent / "tiny-board")
