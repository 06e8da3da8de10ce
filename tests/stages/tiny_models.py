"""Encoders and data small enough to be made within a test, as the artifacts that stages take."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.artifact import Artifact, Job
from edgekit.shape import LayerShape, Shape

#: Its matrices are large enough for the TFLite converter to quantise them; the layers are unequal and not square.
SHAPE = Shape(
    family="bert", vocabulary=60, hidden=40, positions=40, token_types=2,
    layers=(LayerShape(4, 8, 64), LayerShape(3, 16, 48)), labels=("bad", "good", "neither"),
)  # fmt: skip


def artifact(path: Path, form: str) -> Artifact:
    """A finished step whose folder is `path`."""
    return Artifact("a_stage", "key", form, path, {}, (), {}, 0.0, "")


def random_encoder(shape: Shape, seed: int = 0) -> Any:
    """An encoder with parameters large enough that each of them matters."""
    import torch

    from edgekit.stages.network.encoder import new_encoder

    generator = torch.Generator().manual_seed(seed)
    model = new_encoder(shape, seed).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.empty_like(parameter).normal_(0, 0.15, generator=generator))
    return model


def random_texts(lengths: list[int], seed: int = 7) -> list[list[int]]:
    """Token ids, one text of each length; 0 is padding and does not occur."""
    random = np.random.default_rng(seed)
    return [random.integers(1, SHAPE.vocabulary, length).tolist() for length in lengths]


def write_inputs(place: Path, shape: Shape = SHAPE, train: int = 96, validation: int = 48) -> dict[str, Artifact]:
    """A dataset whose labels are a random encoder's answers, and that encoder as the teacher's torch artifact.

    The texts are words `w1` … `w59`, one token each.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers

    from edgekit.stages.network.encoder import predict, save_encoder

    dataset, teacher = place / "dataset", place / "teacher"
    dataset.mkdir()
    teacher.mkdir()
    words = Tokenizer(models.WordLevel({"[PAD]": 0, **{f"w{n}": n for n in range(1, shape.vocabulary)}}, "[PAD]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.save(str(place / "tokenizer.json"))
    model = random_encoder(shape)
    save_encoder(model, teacher, place / "tokenizer.json")
    counts = {"train": train, "validation": validation}
    for seed, (split, count) in enumerate(counts.items()):
        token_ids = random_texts(np.random.default_rng(seed).integers(1, 13, count).tolist(), seed)
        logits = predict(model, token_ids)
        rows = [
            {"text": " ".join(f"w{n}" for n in ids), "label": int(label)}
            for ids, label in zip(token_ids, logits.argmax(axis=1), strict=True)
        ]
        (dataset / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        np.save(teacher / f"logits_{split}.npy", logits)
    record = {"schema": 1, "labels": list(shape.labels), "counts": counts, "source": "random", "sample_task": False}
    (dataset / "dataset.json").write_text(json.dumps(record))
    return {"dataset": artifact(dataset, "dataset"), "teacher": artifact(teacher, "torch")}


def write_twin(folder: Path, model: Any, tokenizer: Path, max_tokens: int = 16) -> Artifact:
    """The keras artifact of an encoder."""
    from edgekit.stages.keras import twin

    folder.mkdir()
    keras_model = twin.build_twin(model.shape, max_tokens)
    twin.fill_twin(keras_model, {name: tensor.numpy() for name, tensor in model.state_dict().items()})
    twin.save_twin(keras_model, model.shape, folder, tokenizer)
    return artifact(folder, "keras")


def make_job(work: Path, earlier: dict[str, Artifact], told: Callable[[int, int, str, str], None] | None = None) -> Job:
    """A job with its folders `work` and, beside it, `<work>.checkpoints`."""
    checkpoints = work.with_suffix(".checkpoints")
    work.mkdir(parents=True)
    checkpoints.mkdir(exist_ok=True)
    return Job(work, checkpoints, {}, earlier, told or (lambda done, total, unit, note: None))
