"""Questions over contexts and tagged sentences that tiny models can learn, and Hugging Face folders for both."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from edgekit.artifact import Artifact
from edgekit.stages.text.vocabulary import make_wordpiece

PEOPLE = ("ana", "jonas", "priya", "mei", "carlos", "tomasz")
PLACES = ("paris", "london", "berlin", "rome", "oslo", "madrid")
FILLERS = ("then", "it", "rained", "all", "day", "and", "night")


def tiny_squad(articles: int, seed: int = 0) -> dict[str, Any]:
    """SQuAD's form: where somebody lives, and where another works; every third context is much longer."""
    random = Random(seed)
    data = []
    for number in range(articles):
        (who, other), (home, office) = random.sample(PEOPLE, 2), random.sample(PLACES, 2)
        filler = " ".join(random.choice(FILLERS) for _ in range(40 if number % 3 == 0 else 3))
        context = f"{who} lives in {home}. {filler}. {other} works in {office}."
        qas = [
            {"id": f"{number}.{verb}", "question": f"where does {name} {verb}?",
             "answers": [{"text": place, "answer_start": context.index(place)}]}
            for name, verb, place in ((who, "live", home), (other, "work", office))
        ]  # fmt: skip
        data.append({"title": f"article {number}", "paragraphs": [{"context": context, "qas": qas}]})
    return {"data": data}


def write_squad(path: Path, articles: int = 40, seed: int = 0) -> Path:
    """A SQuAD file of two questions an article."""
    path.write_text(json.dumps(tiny_squad(articles, seed)))
    return path


def write_conll(path: Path, sentences: int = 80, seed: int = 0) -> Path:
    """A CoNLL file; places of two words have B- and I-."""
    random = Random(seed)
    lines = []
    for _ in range(sentences):
        who, place = random.choice(PEOPLE), random.choice(PLACES)
        filler = [f"{random.choice(FILLERS)} O" for _ in range(random.randrange(1, 6))]
        lines += [f"{who} B-PER", "lives O", "in O", "new B-LOC", f"{place} I-LOC", *filler, ""]
    path.write_text("\n".join(lines))
    return path


def write_model(
    folder: Path, architecture: str = "BertModel", labels: Sequence[str] = (), seed: int = 0, layers: int = 4
) -> Path:
    """A random model of transformers, for windows of up to 48 tokens, and a tokenizer for both tasks."""
    import torch
    import transformers as hf

    folder.mkdir()
    texts = [json.dumps(tiny_squad(40)), "where does new ? . live work"] * 2
    content = make_wordpiece(texts, 200)
    (folder / "tokenizer.json").write_text(json.dumps(content))
    torch.manual_seed(seed)
    names = {"id2label": dict(enumerate(labels)), "label2id": {n: i for i, n in enumerate(labels)}} if labels else {}
    vocabulary = len(content["model"]["vocab"])
    if architecture.startswith("DistilBert"):
        config = hf.DistilBertConfig(
            vocab_size=vocabulary, dim=32, n_layers=layers, n_heads=4, hidden_dim=64, max_position_embeddings=48,
            initializer_range=0.1, **names,
        )  # fmt: skip
    else:
        config = hf.BertConfig(
            vocab_size=vocabulary, hidden_size=32, num_hidden_layers=layers, num_attention_heads=4,
            intermediate_size=64, max_position_embeddings=48, initializer_range=0.1, **names,
        )  # fmt: skip
    getattr(hf, architecture)(config).eval().save_pretrained(folder)
    return folder


def artifact(path: Path, form: str) -> Artifact:
    """A finished step whose folder is `path`."""
    return Artifact("a_stage", "key", form, path, {}, (), {}, 0.0, "")
