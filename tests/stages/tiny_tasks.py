"""Learnable tasks beyond one label a text: how alike two texts are, whether they agree, and several labels."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import tiny_text

#: What a topic's words are; several may stand in one text.
TOPICS = {"fear": ("dark", "cold"), "joy": ("sunny", "song"), "trust": ("friend", "home")}


def values(count: int, seed: int) -> list[tuple[list[str], float]]:
    """Pairs, and from 0 to 3 how many of the second text's words praise: the first text's would say otherwise."""
    random = Random(seed)
    rows = []
    for _ in range(count):
        said, praised = random.randrange(4), random.randrange(4)
        texts = []
        for number in (said, praised):
            words = [random.choice(tiny_text.WORDS["good"]) for _ in range(number)]
            words += [random.choice(tiny_text.FILLERS) for _ in range(5 - number)]
            random.shuffle(words)
            texts.append(" ".join(words))
        rows.append((texts, float(praised)))
    return rows


def sets(count: int, seed: int) -> list[tuple[str, list[str]]]:
    """Texts, and the topics of which a word stands in them."""
    random = Random(seed)
    rows = []
    for _ in range(count):
        found = [topic for topic in TOPICS if random.random() < 0.4]
        words = [random.choice(TOPICS[topic]) for topic in found]
        words += [random.choice(tiny_text.FILLERS) for _ in range(random.randrange(2, 5))]
        random.shuffle(words)
        rows.append((" ".join(words), found))
    return rows


def agreeing(count: int, seed: int) -> list[tuple[list[str], str]]:
    """Pairs, and whether the second text praises."""
    return [(texts, "good" if value > 1.5 else "bad") for texts, value in values(count, seed)]


def write_csv(path: Path, task: str, count: int, seed: int = 0) -> Path:
    """The rows of a task as the user's file."""
    if task == "multi_label_classification":
        lines = ["text,labels", *(f"{text},{';'.join(found)}" for text, found in sets(count, seed))]
    elif task == "text_regression":
        lines = ["sentence1,sentence2,score", *(f"{a},{b},{value}" for (a, b), value in values(count, seed))]
    else:
        lines = ["sentence1,sentence2,label", *(f"{a},{b},{label}" for (a, b), label in agreeing(count, seed))]
    path.write_text("\n".join(lines) + "\n")
    return path


def write_base(folder: Path, seed: int = 0) -> Path:
    """A base checkpoint whose tokenizer knows the tasks' words."""
    from edgekit.stages.text.vocabulary import make_wordpiece

    words = [*tiny_text.FILLERS, *(w for group in (*tiny_text.WORDS.values(), *TOPICS.values()) for w in group)]
    tiny_text.write_hf(folder, base=True, seed=seed)
    (folder / "tokenizer.json").write_text(json.dumps(make_wordpiece([" ".join(words)] * 2, 150)))
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    size = len(json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"])
    assert size <= config["vocab_size"], (size, config["vocab_size"])
    return folder
