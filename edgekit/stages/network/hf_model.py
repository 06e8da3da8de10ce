"""Classifiers of other architectures than edgekit's own, through transformers: local files, no code of theirs."""

from __future__ import annotations

import shutil
from inspect import signature
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from ...errors import ConfigError
from ...shape import answers_of, label_names, read_config
from .encoder import token_types

#: Parts of a classifier that a base checkpoint lacks, as transformers' architectures call them.
MAY_BE_FRESH = ("classifier", "logits_proj", "pooler", "pre_classifier", "projector", "score", "sequence_summary")


class HfClassifier(nn.Module):  # type: ignore[misc]
    """A transformers sequence classifier that is called as `Encoder` is: (ids, mask) -> logits.

    Where its config.json names a `separator`, it reads pairs: a model that knows token types is told them.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        separator = (getattr(model.config, "edgekit", None) or {}).get("separator")
        self.separator = separator if _knows_types(model) else None

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Token ids and mask (1 = read), both [batch, tokens], to logits [batch, labels]."""
        more = {}
        if self.separator is not None:
            more["token_type_ids"] = token_types(input_ids, attention_mask, self.separator)
        return cast("Tensor", self.model(input_ids=input_ids, attention_mask=attention_mask, **more).logits)

    @property
    def vocabulary(self) -> int:
        """How many tokens have a vector."""
        return int(self.model.get_input_embeddings().num_embeddings)

    @property
    def pad_id(self) -> int:
        """The id that fills short texts."""
        return int(self.model.config.pad_token_id or 0)

    @property
    def parameters_count(self) -> int:
        """How many numbers the model holds; shared ones once."""
        return sum(p.numel() for p in self.model.parameters())


def _knows_types(model: Any) -> bool:
    """Whether a second text's tokens may have a type of their own: RoBERTa has one type only, DistilBERT none."""
    return (getattr(model.config, "type_vocab_size", 0) or 0) > 1 and "token_type_ids" in signature(
        model.forward
    ).parameters


def _in_head(name: str) -> bool:
    return not set(MAY_BE_FRESH).isdisjoint(name.split("."))


def load_hf_classifier(
    folder: Path, labels: tuple[str, ...], seed: int, max_tokens: int, separator: int | None = None,
    problem: str | None = None,
) -> HfClassifier:  # fmt: skip
    """The classifier of a folder that transformers knows, in float32; what a base checkpoint lacks starts from `seed`.

    `separator` makes it one of pairs, else config.json says; `problem` (as in config.json) one that answers with a
    value or several labels. Where `labels` are not as many as config.json's, what answers them starts from `seed` too.
    Raises ConfigError, naming the folder, for one that transformers cannot read, that lacks tensors which only a base
    checkpoint may lack, that has tensors of other shapes than config.json asks for, or whose positions end before
    `max_tokens`.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(seed)
    try:
        model, loaded = AutoModelForSequenceClassification.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, trust_remote_code=False, dtype=torch.float32,
            output_loading_info=True, ignore_mismatched_sizes=True,
            id2label=dict(enumerate(labels)), label2id={name: at for at, name in enumerate(labels)},
            problem_type=problem,
        )  # fmt: skip
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        raise ConfigError(f"{folder}: transformers cannot load it: {str(error).strip().splitlines()[0]}") from None
    config = read_config(folder)
    base = answers_of(config) != "text"
    fresh = len(labels) != len(label_names(config))
    misfits = sorted(one for one in loaded["mismatched_keys"] if not ((base or fresh) and _in_head(one[0])))
    if misfits:
        said = ", ".join(f"{name} {list(found)}, not {list(wanted)}" for name, found, wanted in misfits[:3])
        raise ConfigError(
            f"{folder}: {len(misfits)} of its tensors have other shapes than its config.json and the task ask for: "
            f"{said}{' …' if len(misfits) > 3 else ''}"
        )
    missing = sorted(name for name in loaded["missing_keys"] if not (base and _in_head(name)))
    if missing:
        raise ConfigError(
            f"{folder}: its weights lack {len(missing)} of the tensors that its config.json asks for: "
            f"{', '.join(missing[:3])}{' …' if len(missing) > 3 else ''}"
        )
    if separator is not None:
        model.config.edgekit = {"separator": separator}
    classifier = HfClassifier(model.eval())
    longest = torch.ones(1, max_tokens, dtype=torch.int64)
    try:
        with torch.inference_mode():
            classifier(longest, longest)
    except (IndexError, RuntimeError) as error:
        raise ConfigError(f"{folder}: cannot take {max_tokens} tokens: {str(error).splitlines()[0]}") from None
    return classifier


def save_hf_classifier(classifier: HfClassifier, folder: Path) -> None:
    """Write config.json and model.safetensors, as transformers does."""
    classifier.model.save_pretrained(folder, max_shard_size="1TB")


def write_tokenizer(folder: Path, path: Path) -> None:
    """Write a folder's tokenizer.json as `path`; transformers makes it from an older form, such as vocab.txt.

    Raises ConfigError naming the folder where that fails.
    """
    if (folder / "tokenizer.json").exists():
        shutil.copyfile(folder / "tokenizer.json", path)
        return
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        tokenizer.backend_tokenizer.save(str(path))
    except (OSError, ValueError, KeyError, AttributeError, ImportError) as error:
        raise ConfigError(f"{folder}: no tokenizer.json, and none can be made: {str(error).splitlines()[0]}") from None
