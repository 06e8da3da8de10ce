"""A learnable text task and Hugging Face folders for it, all made within a test."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random

from edgekit.artifact import Artifact, Job
from edgekit.stages.text.vocabulary import make_wordpiece

LABELS = ("bad", "good")
WORDS = {"bad": ("awful", "boring", "poor", "dull"), "good": ("great", "lovely", "superb", "witty")}
FILLERS = ("a", "film", "the", "plot", "was", "very", "with", "actors", "and", "story")


#: A training after which the models of `write_hf` have learnt the task.
ENOUGH = {"epochs": 6.0, "batch_size": 8, "learning_rate": 3e-3, "patience": 50, "precision": "float32"}


def tiny_texts(count: int, seed: int) -> list[tuple[str, int]]:
    """Texts of 3 to 9 words, of which one decides the label."""
    random = Random(seed)
    rows = []
    for _ in range(count):
        label = random.randrange(2)
        words = [random.choice(FILLERS) for _ in range(random.randrange(2, 9))]
        words.insert(random.randrange(len(words) + 1), random.choice(WORDS[LABELS[label]]))
        rows.append((" ".join(words), label))
    return rows


def write_dataset(
    folder: Path, train: int = 96, validation: int = 32, test: int = 16, labels: tuple[str, ...] = LABELS
) -> Artifact:
    """The task as a dataset artifact."""
    folder.mkdir()
    counts = {"train": train, "validation": validation, "test": test}
    for seed, (split, count) in enumerate(counts.items()):
        lines = [json.dumps({"text": text, "label": label}) for text, label in tiny_texts(count, seed)]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    record = {"schema": 1, "labels": list(labels), "counts": counts, "source": "tiny", "sample_task": False}
    (folder / "dataset.json").write_text(json.dumps(record))
    return Artifact("dataset_text", "key", "dataset", folder, {}, (), {}, 0.0, "")


def write_tokenizer(path: Path) -> int:
    """A WordPiece tokenizer.json for the task and more; answers how many tokens it has."""
    texts = [text for text, _ in tiny_texts(200, 9)] + ["never seen words: zebra zebra xylophone xylophone quartz"]
    content = make_wordpiece(texts, 200)
    path.write_text(json.dumps(content))
    return len(content["model"]["vocab"])


def write_hf(folder: Path, family: str = "bert", labels: int = 2, seed: int = 0, base: bool = False) -> Path:
    """A random model of transformers with 4 layers and the task's tokenizer; `base`: without a classifier."""
    import torch
    import transformers as hf

    folder.mkdir()
    vocabulary = write_tokenizer(folder / "tokenizer.json")
    torch.manual_seed(seed)
    names = (
        {"id2label": dict(enumerate(LABELS)), "label2id": {n: i for i, n in enumerate(LABELS)}} if labels == 2 else {}
    )
    if family == "distilbert":
        config = hf.DistilBertConfig(
            vocab_size=vocabulary, dim=32, n_layers=4, n_heads=4, hidden_dim=64, max_position_embeddings=32,
            num_labels=labels, initializer_range=0.1, pad_token_id=0, **names,
        )  # fmt: skip
        model = hf.DistilBertModel(config) if base else hf.DistilBertForSequenceClassification(config)
    elif family == "roberta":
        config = hf.RobertaConfig(
            vocab_size=vocabulary, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
            max_position_embeddings=34, num_labels=labels, initializer_range=0.1, pad_token_id=0, **names,
        )  # fmt: skip
        model = hf.RobertaForSequenceClassification(config)
    else:
        config = hf.BertConfig(
            vocab_size=vocabulary, hidden_size=32, num_hidden_layers=4, num_attention_heads=4, intermediate_size=64,
            max_position_embeddings=32, num_labels=labels, initializer_range=0.1, **names,
        )  # fmt: skip
        model = hf.BertModel(config, add_pooling_layer=False) if base else hf.BertForSequenceClassification(config)
    model.save_pretrained(folder)
    return folder


def make_job(
    place: Path,
    earlier: dict[str, Artifact],
    inputs: dict[str, Path] | None = None,
    progress: Callable[[int, int, str, str], None] = lambda done, total, unit, note: None,
    seed: int = 0,
) -> Job:
    """A job whose folders are below `place`; they may exist."""
    for name in ("work", "checkpoints"):
        (place / name).mkdir(parents=True, exist_ok=True)
    return Job(place / "work", place / "checkpoints", inputs or {}, earlier, progress, seed)
