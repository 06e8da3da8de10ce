"""From texts to token ids and to batches of texts of like length; the arrays are numpy's, for any framework."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ConfigError

IntArray = np.ndarray[Any, np.dtype[np.int64]]

Text = str | Sequence[str]  # one text, or the two of a pair

#: Training batches are drawn from this many batches' worth of shuffled texts, sorted by length.
SORTED_BATCHES = 50


def load_tokenizer(path: Path, max_tokens: int) -> Any:
    """The `tokenizers.Tokenizer` of a tokenizer.json: no padding, and texts cut to `max_tokens` tokens.

    What the file itself says of padding and truncation is not used. Raises ConfigError naming the file.
    """
    from tokenizers import Tokenizer

    content = json.dumps(read_tokenizer(path))
    try:
        tokenizer = Tokenizer.from_str(content)
    except Exception as error:  # noqa: BLE001 (the library has no class of its own)
        raise ConfigError(f"{path}: not a tokenizer: {error}") from None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.enable_truncation(max_tokens)
    return tokenizer


def read_tokenizer(path: Path) -> dict[str, Any]:
    """A tokenizer.json as a dictionary. Raises ConfigError for a file that is not one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path.parent}: no {path.name}") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read as JSON: {error}") from None
    model = content.get("model") if isinstance(content, dict) else None
    if not isinstance(model, dict) or "vocab" not in model:
        raise ConfigError(f"{path}: not a tokenizer: no model with a vocab")
    return dict(content)


def encode(tokenizer: Any, texts: Sequence[Text]) -> list[list[int]]:
    """The token ids of each text or pair, special tokens included, cut as the tokenizer was told.

    Of a pair the longer text is cut first.
    """
    return [encoding.ids for encoding in tokenizer.encode_batch_fast(list(texts))]


def pair_separator(tokenizer: Any, path: Path) -> int:
    """The token between the two texts of a pair, after which the second one begins.

    Raises ConfigError naming the tokenizer's file where it puts none between them.
    """
    pair = tokenizer.encode("a", "b")
    of = [*pair.sequence_ids, 1]
    after = max((at for at, text in enumerate(of) if text == 0), default=-2) + 1
    if after < 0 or of[after] is not None:
        raise ConfigError(f"{path}: puts no token between the two texts of a pair; expected one, such as BERT's [SEP]")
    return int(pair.ids[after])  # RoBERTa has two: the first one ends the first text


def separator_of(texts: Sequence[Text], tokenizer: Any, path: Path) -> int | None:
    """`pair_separator` where the texts are pairs, else None."""
    return None if isinstance(texts[0], str) else pair_separator(tokenizer, path)


def count_truncated(tokenizer: Any, texts: Sequence[Text]) -> int:
    """How many texts are longer than the tokenizer's limit and lose their end."""
    return sum(1 for encoding in tokenizer.encode_batch(list(texts)) if encoding.overflowing)


def check_tokenizer(path: Path, tokenizer: Any, vocabulary: int, positions: int) -> None:
    """Refuse a tokenizer that does not fit its model. Raises ConfigError naming both sizes."""
    check_vocabulary(path, tokenizer.get_vocab(with_added_tokens=True).values(), vocabulary)
    limit = tokenizer.truncation["max_length"]
    if limit > positions:
        raise ConfigError(f"{path}: texts may have {limit} tokens, but the model has positions for {positions} only")


def check_vocabulary(path: Path, ids: Iterable[int], vocabulary: int) -> None:
    """Refuse token ids of a tokenizer.json that its model has no vectors for. Raises ConfigError."""
    highest = max(ids, default=-1)
    if highest < 0:
        raise ConfigError(f"{path}: its vocabulary is empty")
    if highest >= vocabulary:
        raise ConfigError(
            f"{path}: its highest token id is {highest}, but the model beside it has {vocabulary} token vectors"
        )


def pad(token_ids: Sequence[Sequence[int]], pad_id: int, length: int | None = None) -> tuple[IntArray, IntArray]:
    """Ids and mask (1 = read), both [texts, length]; `length` None means the longest text's."""
    width = length or max(len(ids) for ids in token_ids)
    ids = np.full((len(token_ids), width), pad_id, dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, tokens in enumerate(token_ids):
        ids[row, : len(tokens)] = tokens
        mask[row, : len(tokens)] = 1
    return ids, mask


def in_order(
    answers: Mapping[int, np.ndarray[Any, np.dtype[np.float32]]], token_ids: Sequence[Sequence[int]]
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Logits by row as one array: those [labels] as rows, those [tokens, labels] on end, without what is padding's."""
    if answers[0].ndim == 1:
        return np.stack([answers[row] for row in range(len(token_ids))])
    return np.concatenate([answers[row][: len(ids)] for row, ids in enumerate(token_ids)])


def inference_batches(lengths: Sequence[int], batch_size: int) -> list[IntArray]:
    """The row numbers of each batch, from the shortest texts to the longest."""
    order = np.argsort(np.asarray(lengths), kind="stable")
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def training_batches(lengths: Sequence[int], batch_size: int, seed: Sequence[int]) -> list[IntArray]:
    """The row numbers of each batch of one epoch: random, yet texts of like length stand together.

    The rows are shuffled, sorted within groups of 50 batches, cut into batches, and the batches shuffled: little
    padding, and hardly less random than drawing every batch freely. `seed` is (seed, epoch).
    """
    random = np.random.default_rng(list(seed))
    sizes = np.asarray(lengths)
    order = random.permutation(len(sizes))
    group = SORTED_BATCHES * batch_size
    batches = []
    for start in range(0, len(order), group):
        rows = order[start : start + group]
        rows = rows[np.argsort(sizes[rows], kind="stable")]
        batches += [rows[at : at + batch_size] for at in range(0, len(rows), batch_size)]
    return [batches[at] for at in random.permutation(len(batches))]
