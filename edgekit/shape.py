"""The shape of a BERT-family encoder, read from a Hugging Face config.json; no framework needed.

A pruned student has layers of unequal width, or token vectors that are narrower than its layers, which Hugging Face's
own config cannot say. They are kept under one extra key, `"edgekit": {"layers": [{"heads": 8, "head_dim": 32, "ffn":
768}, …], "embedding": 128}`; where that key is missing, the folder is one that transformers loads as it is. A model of
pairs has `"separator"` there, the token id by which it knows where the second text begins.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from .errors import ConfigError

#: Architectures that edgekit's own encoder, and so distillation, pruning and the Keras twin, know.
FAMILIES = ("bert", "distilbert")

#: What a model answers for, and what the name of its architecture then ends with: a label for the whole text, a label
#: for each token, or start and end of a span.
Answers = Literal["text", "tokens", "span"]
HEADS: dict[Answers, str] = {
    "text": "ForSequenceClassification", "tokens": "ForTokenClassification", "span": "ForQuestionAnswering",
}  # fmt: skip


#: What config.json says besides of a model that answers for texts, but not with one label.
PROBLEMS = {"text_regression": "regression", "multi_label_classification": "multi_label_classification"}


@dataclass(frozen=True)
class LayerShape:
    """One transformer layer: `heads` of `head_dim` each, and `ffn` feed-forward neurons."""

    heads: int
    head_dim: int
    ffn: int


@dataclass(frozen=True)
class Shape:
    """All sizes of an encoder with a classifier on its first token, or on each."""

    family: str
    vocabulary: int
    hidden: int
    positions: int
    token_types: int  # 0: the family has none
    layers: tuple[LayerShape, ...]
    labels: tuple[str, ...]
    activation: str = "gelu"
    layer_norm_eps: float = 1e-12
    pad_id: int = 0
    dropout: float = 0.1
    answers: Answers = "text"
    problem: str | None = None  # one of PROBLEMS; None: one label
    separator: int | None = None  # of pairs: the token after which the second text begins; None: single texts
    embedding: int | None = None  # width of the token vectors where a projection widens them to `hidden`

    @property
    def head(self) -> Literal["pooler", "pre_classifier"]:
        """What stands between encoder and classifier: BERT's tanh pooler, or DistilBERT's ReLU layer."""
        return "pre_classifier" if self.family == "distilbert" else "pooler"

    @property
    def pairs(self) -> bool:
        """Whether it tells a pair's second text from the first; families without token types read both alike."""
        return self.separator is not None and self.token_types > 1

    @property
    def parameters(self) -> int:
        """How many numbers the model holds."""
        h = self.hidden
        words = self.vocabulary * h if self.embedding is None else (self.vocabulary + h) * self.embedding
        embeddings = words + (self.positions + self.token_types + 2) * h
        layers = sum(
            4 * h * w + 3 * w + h + 2 * h * layer.ffn + layer.ffn + h + 4 * h
            for layer in self.layers
            for w in (layer.heads * layer.head_dim,)
        )
        head = h * h + h if self.answers == "text" else 0
        return embeddings + layers + head + (h + 1) * len(self.labels)

    @property
    def macs_per_token(self) -> int:
        """Multiply-accumulates of the dense layers for one token; attention's products over the text come on top."""
        layers = sum(4 * self.hidden * x.heads * x.head_dim + 2 * self.hidden * x.ffn for x in self.layers)
        return layers + self.hidden * (self.embedding or 0)

    def config(self) -> dict[str, Any]:
        """This shape as a Hugging Face config.json."""
        labels = {str(i): name for i, name in enumerate(self.labels)}
        common = {
            "model_type": self.family,
            "vocab_size": self.vocabulary,
            "max_position_embeddings": self.positions,
            "pad_token_id": self.pad_id,
            "id2label": labels,
            "label2id": {name: i for i, name in enumerate(self.labels)},
            **({"problem_type": self.problem} if self.problem else {}),
        }
        first = self.layers[0]
        if self.family == "distilbert":
            sizes = {
                "architectures": [f"DistilBert{HEADS[self.answers]}"],
                "dim": self.hidden, "n_layers": len(self.layers), "n_heads": first.heads, "hidden_dim": first.ffn,
                "activation": self.activation, "dropout": self.dropout, "attention_dropout": self.dropout,
                "seq_classif_dropout": self.dropout, "sinusoidal_pos_embds": False,
            }  # fmt: skip
        else:
            sizes = {
                "architectures": [f"Bert{HEADS[self.answers]}"],
                "hidden_size": self.hidden, "num_hidden_layers": len(self.layers), "num_attention_heads": first.heads,
                "intermediate_size": first.ffn, "hidden_act": self.activation, "type_vocab_size": self.token_types,
                "hidden_dropout_prob": self.dropout, "attention_probs_dropout_prob": self.dropout,
                "layer_norm_eps": self.layer_norm_eps, "position_embedding_type": "absolute",
            }  # fmt: skip
        plain = all(x == first for x in self.layers) and first.heads * first.head_dim == self.hidden
        own: dict[str, Any] = {} if plain else {"layers": [vars(x) for x in self.layers]}
        own |= {} if self.embedding is None else {"embedding": self.embedding}
        own |= {} if self.separator is None else {"separator": self.separator}
        return {**common, **sizes, **({"edgekit": own} if own else {})}

    def with_layers(self, layers: tuple[LayerShape, ...]) -> Shape:
        """The same encoder with other layers."""
        return replace(self, layers=layers)


def read_config(folder: Path) -> dict[str, Any]:
    """A model folder's config.json. Raises ConfigError naming the file."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{folder}: no config.json; a Hugging Face model folder has one") from None
    except NotADirectoryError:
        raise ConfigError(f"{folder}: is a file, not a model's folder with a config.json") from None
    except (ValueError, OSError) as error:
        raise ConfigError(f"{path}: cannot be read as JSON: {error}") from None
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise ConfigError(f"{path}: has no 'model_type'")
    names = config.get("id2label") or {}
    if not isinstance(names, dict) or sorted(names) != sorted(map(str, range(len(names)))):
        raise ConfigError(f"{path}: key 'id2label': found {names!r:.80}, expected names for the ids 0, 1, 2, …")
    kinds = config.get("architectures") or []
    if not isinstance(kinds, list) or not all(isinstance(kind, str) for kind in kinds):
        raise ConfigError(
            f"{path}: key 'architectures': found {kinds!r:.80}, expected a list of names; possible: "
            f'["Bert{HEADS["text"]}"] and the like, or no such key, which is a base checkpoint'
        )
    return config


def label_names(config: dict[str, Any]) -> tuple[str, ...]:
    """The label names of a config.json in the order of their ids; transformers' own default is LABEL_0, LABEL_1."""
    names = config.get("id2label") or {}
    return tuple(str(names[str(i)]) for i in range(len(names))) or ("LABEL_0", "LABEL_1")


def task_of(config: dict[str, Any]) -> str | None:
    """The task that a config.json's model is fine-tuned for, by its architecture; None of a base checkpoint."""
    for name in config.get("architectures") or ():
        if str(name).endswith("ForSequenceClassification"):
            kind = config.get("problem_type")
            if kind == "regression" or (kind is None and len(config.get("id2label") or "01") == 1):
                return "text_regression"
            return "multi_label_classification" if kind == "multi_label_classification" else "text_classification"
        for ending, task in (("ForTokenClassification", "token_classification"),
                             ("ForQuestionAnswering", "question_answering")):  # fmt: skip
            if str(name).endswith(ending):
                return task
    return None


def answers_of(config: dict[str, Any]) -> Answers | None:
    """What a fine-tuned model answers for, by its config.json; None for a base checkpoint."""
    names = [str(name) for name in config.get("architectures") or ()]
    return next((kind for kind, end in HEADS.items() if any(name.endswith(end) for name in names)), None)


def problem_of(config: dict[str, Any]) -> str | None:
    """Which of PROBLEMS a fine-tuned model is for; None for one label, and for other tasks."""
    return PROBLEMS.get(task_of(config) or "")


def read_shape(folder: Path) -> Shape:
    """The shape of a BERT or DistilBERT folder. Raises ConfigError for another architecture, keys that are no sizes."""
    config, path = read_config(folder), folder / "config.json"
    family = config["model_type"]
    if family not in FAMILIES:
        raise ConfigError(f"{path}: architecture '{family}'; possible: {', '.join(FAMILIES)}")
    names = (
        ("dim", "n_layers", "n_heads", "hidden_dim", "activation", "dropout")
        if family == "distilbert"
        else ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act",
              "hidden_dropout_prob")
    )  # fmt: skip
    sizes = (*names[:4], "vocab_size", "max_position_embeddings")
    if missing := [name for name in sizes if name not in config]:
        raise ConfigError(f"{path}: no {', '.join(missing)}")
    config = {"layer_norm_eps": 1e-12, names[5]: 0.1, "type_vocab_size": 2, **config}
    config["pad_token_id"] = config.get("pad_token_id") or 0
    if family == "distilbert":
        config["type_vocab_size"] = 0
    least = dict.fromkeys(sizes, 1) | {"type_vocab_size": 0, "pad_token_id": 0}
    problems = [
        f"{path}: key '{name}': found {config[name]!r:.80}, expected a whole number from {low} on"
        for name, low in least.items()
        if type(config[name]) is not int or config[name] < low
    ]
    problems += [
        f"{path}: key '{name}': found {config[name]!r:.80}, expected a number from 0 to 1"
        for name in ("layer_norm_eps", names[5])
        if type(config[name]) not in (int, float) or not 0 <= config[name] <= 1
    ]
    if problems:
        raise ConfigError(problems)
    hidden, depth, heads, ffn = (config[name] for name in names[:4])
    own = config.get("edgekit") or {}
    unequal = own.get("layers")
    layers = tuple(LayerShape(**x) for x in unequal) if unequal else (LayerShape(heads, hidden // heads, ffn),) * depth
    return Shape(
        family=family,
        vocabulary=config["vocab_size"],
        hidden=hidden,
        positions=config["max_position_embeddings"],
        token_types=config["type_vocab_size"],
        layers=layers,
        labels=label_names(config),
        activation=str(config.get(names[4], "gelu")),
        layer_norm_eps=float(config["layer_norm_eps"]),
        pad_id=config["pad_token_id"],
        dropout=float(config[names[5]]),
        answers=answers_of(config) or "text",
        problem=problem_of(config),
        embedding=own.get("embedding"),
        separator=own.get("separator"),
    )
