"""The text encoder in plain PyTorch: BERT and DistilBERT classifiers whose layers may differ in width.

It reads and writes Hugging Face folders and computes what transformers computes (Devlin et al. 2019,
arXiv:1810.04805; Sanh et al. 2019, arXiv:1910.01108); token vectors narrower than the layers are widened by a matrix,
as ALBERT's are (Lan et al. 2020, arXiv:1909.11942). Only the `run` functions of stages import this module.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ...errors import ConfigError, did_you_mean
from ...shape import Answers, LayerShape, Shape, answers_of, read_config, read_shape
from ..text.tokens import in_order, inference_batches, pad
from .trace import LayerTrace, Trace

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "gelu_new": lambda x: functional.gelu(x, approximate="tanh"),
    "gelu_pytorch_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "relu": functional.relu,
    "silu": functional.silu,
}

#: Where Hugging Face keeps each module of `Encoder`; `{i}` is the layer's number.
BERT_NAMES = {
    "word": "bert.embeddings.word_embeddings",
    "widen": "bert.embeddings_project",  # as ELECTRA's are called, Clark et al. 2020, arXiv:2003.10555
    "position": "bert.embeddings.position_embeddings",
    "token_type": "bert.embeddings.token_type_embeddings",
    "norm": "bert.embeddings.LayerNorm",
    "layers.{i}.query": "bert.encoder.layer.{i}.attention.self.query",
    "layers.{i}.key": "bert.encoder.layer.{i}.attention.self.key",
    "layers.{i}.value": "bert.encoder.layer.{i}.attention.self.value",
    "layers.{i}.output": "bert.encoder.layer.{i}.attention.output.dense",
    "layers.{i}.attention_norm": "bert.encoder.layer.{i}.attention.output.LayerNorm",
    "layers.{i}.up": "bert.encoder.layer.{i}.intermediate.dense",
    "layers.{i}.down": "bert.encoder.layer.{i}.output.dense",
    "layers.{i}.ffn_norm": "bert.encoder.layer.{i}.output.LayerNorm",
    "head": "bert.pooler.dense",
    "classifier": "classifier",
}
DISTILBERT_NAMES = {
    "word": "distilbert.embeddings.word_embeddings",
    "widen": "distilbert.embeddings_project",
    "position": "distilbert.embeddings.position_embeddings",
    "norm": "distilbert.embeddings.LayerNorm",
    "layers.{i}.query": "distilbert.transformer.layer.{i}.attention.q_lin",
    "layers.{i}.key": "distilbert.transformer.layer.{i}.attention.k_lin",
    "layers.{i}.value": "distilbert.transformer.layer.{i}.attention.v_lin",
    "layers.{i}.output": "distilbert.transformer.layer.{i}.attention.out_lin",
    "layers.{i}.attention_norm": "distilbert.transformer.layer.{i}.sa_layer_norm",
    "layers.{i}.up": "distilbert.transformer.layer.{i}.ffn.lin1",
    "layers.{i}.down": "distilbert.transformer.layer.{i}.ffn.lin2",
    "layers.{i}.ffn_norm": "distilbert.transformer.layer.{i}.output_layer_norm",
    "head": "pre_classifier",
    "classifier": "classifier",
}


class EncoderLayer(nn.Module):  # type: ignore[misc]
    """Self-attention and feed-forward, each with a residual and a layer norm after it (post-LN)."""

    def __init__(self, shape: Shape, layer: LayerShape) -> None:
        super().__init__()
        self.heads, self.head_dim, width = layer.heads, layer.head_dim, layer.heads * layer.head_dim
        self.query = nn.Linear(shape.hidden, width)
        self.key = nn.Linear(shape.hidden, width)
        self.value = nn.Linear(shape.hidden, width)
        self.output = nn.Linear(width, shape.hidden)
        self.attention_norm = nn.LayerNorm(shape.hidden, eps=shape.layer_norm_eps)
        self.up = nn.Linear(shape.hidden, layer.ffn)
        self.down = nn.Linear(layer.ffn, shape.hidden)
        self.ffn_norm = nn.LayerNorm(shape.hidden, eps=shape.layer_norm_eps)
        self.dropout = nn.Dropout(shape.dropout)
        self.activation = ACTIVATIONS[shape.activation]

    def forward(self, x: Tensor, mask: Tensor, first_only: bool = False, trace: LayerTrace | None = None) -> Tensor:
        """[batch, tokens, hidden] to the same; `mask` [batch, 1, 1, tokens] is true where a token is read.

        `first_only` answers for the first token alone, [batch, 1, hidden], which then still reads all tokens.
        """
        asking = x[:, :1] if first_only else x
        query, key, value = (
            project(source).unflatten(-1, (self.heads, self.head_dim)).transpose(1, 2)
            for project, source in ((self.query, asking), (self.key, x), (self.value, x))
        )
        if self.training or (trace and "attention" in trace.wanted):
            weights = self._weights(query, key, mask)
            context = self.dropout(weights).to(value.dtype) @ value
        else:
            weights, context = None, functional.scaled_dot_product_attention(query, key, value, mask)
        x = self.attention_norm(asking + self.dropout(self.output(context.transpose(1, 2).flatten(2))))
        x = self.ffn_norm(x + self.dropout(self.down(self.activation(self.up(x)))))
        if trace:
            found = {"hidden": x, "values": value.transpose(1, 2).flatten(2)}
            if weights is not None and "attention" in trace.wanted:
                found["attention"] = weights.mean(dim=1, dtype=torch.float32)
            trace.seen = {kind: found[kind] for kind in trace.wanted}
        return cast("Tensor", x)

    def _weights(self, query: Tensor, key: Tensor, mask: Tensor) -> Tensor:
        """scaled_dot_product_attention step by step: on a CPU its backward pass took ten times as long (bfloat16)."""
        scores = (query @ key.transpose(-1, -2)) * self.head_dim**-0.5
        return cast("Tensor", scores.masked_fill(~mask, -torch.inf).softmax(-1))


class Encoder(nn.Module):  # type: ignore[misc]
    """A BERT or DistilBERT of the given shape that answers for texts, for tokens or for spans.

    Raises ConfigError for an unknown activation.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        if shape.activation not in ACTIVATIONS:
            found = f"activation '{shape.activation}' is not one that edgekit knows"
            raise ConfigError(found + did_you_mean(shape.activation, ACTIVATIONS))
        self.shape = shape
        self.word = nn.Embedding(shape.vocabulary, shape.embedding or shape.hidden)
        if shape.embedding:
            self.widen = nn.Linear(shape.embedding, shape.hidden, bias=False)
        self.position = nn.Embedding(shape.positions, shape.hidden)
        if shape.token_types:
            self.token_type = nn.Embedding(shape.token_types, shape.hidden)
        self.norm = nn.LayerNorm(shape.hidden, eps=shape.layer_norm_eps)
        self.layers = nn.ModuleList(EncoderLayer(shape, layer) for layer in shape.layers)
        if shape.answers == "text":
            self.head = nn.Linear(shape.hidden, shape.hidden)
        self.classifier = nn.Linear(shape.hidden, len(shape.labels))
        self.dropout = nn.Dropout(shape.dropout)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, trace: Trace | None = None) -> Tensor:
        """Token ids and mask (1 = read), both [batch, tokens], to logits; fills `trace`.

        Logits are [batch, labels], or of a model that answers by token [batch, tokens, labels].
        """
        traced = trace.layers if trace else {}
        x = self.word(input_ids)
        if self.shape.embedding:
            x = self.widen(x)
        x = x + self.position.weight[: input_ids.shape[1]]
        if self.shape.pairs:
            x = x + self.token_type(token_types(input_ids, attention_mask, self.shape.separator))
        elif self.shape.token_types:
            x = x + self.token_type.weight[0]
        x = self.dropout(self.norm(x))
        mask = attention_mask[:, None, None, :].to(torch.bool)
        *inner, last = self.layers
        for at, layer in enumerate(inner):
            x = layer(x, mask, trace=traced.get(at))
        of_last = traced.get(len(inner))
        by_token = self.shape.answers != "text"
        first_only = not (by_token or (of_last and of_last.wanted & {"hidden", "attention"}))
        x = last(x, mask, first_only, of_last)  # exact for the logits: the classifier reads the first token only
        if by_token:
            if trace:
                trace.pooled = x[:, 0]
            return cast("Tensor", self.classifier(self.dropout(x)))
        first = self.head(x[:, 0])
        first = functional.relu(first) if self.shape.head == "pre_classifier" else torch.tanh(first)
        if trace:
            trace.pooled = first
        return cast("Tensor", self.classifier(self.dropout(first)))


def token_types(input_ids: Tensor, attention_mask: Tensor, separator: int | None) -> Tensor:
    """What transformers' tokenizers call token_type_ids, [batch, tokens]: 1 where a pair's second text is read, else 0.

    It is 1 after the first separator: found from the ids, so that a model of pairs has no third input. The sum is of
    floats because TensorRT has no other (onnx-tensorrt, docs/operators.md: CumSum).
    """
    ends = (input_ids == separator).to(torch.float32)
    after = (ends.cumsum(dim=1) - ends).clamp(max=1)
    return after.to(attention_mask.dtype) * attention_mask


def new_encoder(shape: Shape, seed: int, known: dict[str, Tensor] | None = None) -> Encoder:
    """An encoder with the `known` parameters; the others start as BERT's do: N(0, 0.02), norms 1, biases 0."""
    with torch.device("meta"):
        model = Encoder(shape)
    generator = torch.Generator().manual_seed(seed)
    state = dict(known or {})
    for name, parameter in model.state_dict().items():
        if name in state:
            continue
        if name.endswith("bias"):
            state[name] = torch.zeros(parameter.shape)
        elif name.endswith("norm.weight"):
            state[name] = torch.ones(parameter.shape)
        else:
            state[name] = torch.empty(parameter.shape).normal_(0.0, 0.02, generator=generator)
    model.load_state_dict(state, assign=True)
    return model


def hf_names(shape: Shape) -> dict[str, str]:
    """`Encoder`'s parameter names, each with its name in a Hugging Face file of that family."""
    table = DISTILBERT_NAMES if shape.family == "distilbert" else BERT_NAMES
    table = {**table, "classifier": "qa_outputs"} if shape.answers == "span" else table
    with torch.device("meta"):
        parameters = Encoder(shape).state_dict()
    names = {}
    for name in parameters:
        module, _, kind = name.rpartition(".")
        number = module.split(".")[1] if module.startswith("layers.") else ""
        pattern = module.replace(f".{number}.", ".{i}.") if number else module
        names[name] = f"{table[pattern]}.{kind}".replace("{i}", number)
    return names


def load_encoder(
    folder: Path, seed: int = 0, labels: tuple[str, ...] | None = None, answers: Answers | None = None,
    separator: int | None = None, problem: str | None = None,
) -> Encoder:  # fmt: skip
    """The classifier of a Hugging Face folder, in float32 and evaluation mode.

    A base checkpoint has no classifier and maybe no pooler: they start fresh from `seed`. `labels` asks for these
    labels, and `problem` (as in config.json), instead of the folder's own; where the labels' number or the problem
    differs, the classifier starts fresh too; so it does where `answers` asks for another kind of answers. `separator`
    makes it a model of pairs; else config.json says whether it is one. A fine-tuned model has to be whole.
    Raises ConfigError for another architecture, a missing or damaged file, and a tensor of another shape.
    """
    shape = read_shape(folder)
    tuned = answers_of(read_config(folder)) == (answers or shape.answers)
    fresh_classifier = answers not in (None, shape.answers)
    if labels is not None:
        fresh_classifier = fresh_classifier or (len(labels), problem) != (len(shape.labels), shape.problem)
        shape = replace(shape, labels=labels, problem=problem)
    if answers is not None:
        shape = replace(shape, answers=answers)
    if separator is not None:
        shape = replace(shape, separator=separator)
    found = read_tensors(folder)
    names = hf_names(shape)
    with torch.device("meta"):
        expected = {name: tuple(p.shape) for name, p in Encoder(shape).state_dict().items()}
    known: dict[str, Tensor] = {}
    problems: list[str] = []
    file = folder / "model.safetensors"
    for name, hf_name in names.items():
        fresh = fresh_classifier and name.startswith("classifier.")
        may_be_missing = fresh or (not tuned and name.startswith(("head.", "classifier.")))
        tensor = None if fresh else _find(found, hf_name)
        if tensor is None:
            problems += [] if may_be_missing else [f"{file}: no tensor '{hf_name}'"]
        elif tuple(tensor.shape) != expected[name]:
            sizes = f"{list(tensor.shape)}, config.json asks for {list(expected[name])}"
            problems.append(f"{file}: tensor '{hf_name}' has the shape {sizes}")
        else:
            known[name] = tensor
    if problems:
        more = [f"{file}: … and {len(problems) - 3} more tensors"] if len(problems) > 3 else []
        raise ConfigError(problems[:3] + more)
    return cast("Encoder", new_encoder(shape, seed, known).eval())


def _find(found: dict[str, Tensor], name: str) -> Tensor | None:
    """A tensor by its Hugging Face name; base checkpoints leave out the first part, old ones say gamma and beta."""
    base = name.split(".", 1)[1]
    for candidate in (name, base):
        old = candidate.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        for key in (candidate, old):
            if key in found:
                return found[key].to(torch.float32)
    return None


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder's model.safetensors, or of the parts that its index names, in memory.

    Raises ConfigError naming the file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    index = folder / "model.safetensors.index.json"
    files = [folder / "model.safetensors"]
    if not files[0].exists() and index.exists():
        parts = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        files = [folder / Path(part).name for part in sorted(set(parts))]
    tensors: dict[str, Tensor] = {}
    for path in files:
        try:
            tensors.update(load(path.read_bytes()))
        except FileNotFoundError:
            pickled = "; pytorch_model.bin is a pickle, which edgekit does not read"
            found = pickled if (folder / "pytorch_model.bin").exists() else ""
            raise ConfigError(f"{folder}: no {path.name}{found}") from None
        except (OSError, SafetensorError) as error:
            raise ConfigError(f"{path}: not a whole safetensors file: {error}") from None
    return tensors


def save_encoder(model: Encoder, folder: Path, tokenizer: Path) -> None:
    """Write a Hugging Face folder: config.json, model.safetensors (float32) and a copy of the tokenizer.json."""
    from safetensors.torch import save_file

    state = model.state_dict()
    tensors = {hf: state[name].detach().to(torch.float32).contiguous() for name, hf in hf_names(model.shape).items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.dumps(model.shape.config(), indent=2, ensure_ascii=False)
    (folder / "config.json").write_text(config + "\n", encoding="utf-8")
    if tokenizer.resolve() != (folder / "tokenizer.json").resolve():
        shutil.copyfile(tokenizer, folder / "tokenizer.json")


def predict(
    model: Callable[..., Any],
    token_ids: Sequence[Sequence[int]],
    batch_size: int = 64,
    pad_id: int = 0,
    progress: Callable[[int], None] | None = None,
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Logits [texts, labels] in the texts' order; batches are made of texts of like length.

    Of a model that answers by token they are [all tokens, labels], one text's after the other's. `model` takes ids and
    mask by position and answers logits. `progress` is told how many texts are done.
    """
    answers: dict[int, np.ndarray[Any, np.dtype[np.float32]]] = {}
    if isinstance(model, nn.Module):
        model.eval()
    with torch.inference_mode():
        for rows in inference_batches([len(ids) for ids in token_ids], batch_size):
            ids, mask = (torch.from_numpy(x) for x in pad([token_ids[row] for row in rows], pad_id))
            logits = model(ids, mask).float().numpy()
            answers.update(zip(rows.tolist(), logits, strict=True))
            if progress:
                progress(len(answers))
    return in_order(answers, token_ids)
