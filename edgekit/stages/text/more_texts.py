"""More texts to distil on than the labelled ones: the user's unlabelled file, and changed copies of the training texts.

No label is known of them; the teachers answer, and that is what a student learns there.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...artifact import Job
from ...atomic import write_bytes
from ...errors import ConfigError
from ...shape import FAMILIES, label_names, read_config
from ...steps import Augment, TextDistillation
from ...tables import read_table
from ...tasks.columns import Wanted, unlabelled_texts
from ..learning.checks import MASKS, check_words, no_mask
from ..learning.precision import uses_bfloat16
from ..learning.text_losses import unknown_labels
from ..network.encoder import load_encoder, predict
from .splits import TokenSplit, read_texts
from .tokens import Text, encode, load_tokenizer

#: A word may become one of so many nearest ones (TinyBERT has 15 candidates).
NEIGHBOURS = 15
MASK = MASKS[0]


def find_more_texts(
    texts: Sequence[Text], tokenizer: Any, options: TextDistillation, columns: Wanted, job: Job
) -> tuple[list[Text], tuple[str, ...]]:
    """Texts besides the training `texts`, and a note on them; `tokenizer` is the student's.

    Texts that stand in the dataset already, held-out ones above all, are left out, whatever their case and spaces.
    Raises ConfigError for a file without texts, and for an augmentation that the tokenizers cannot have.
    """
    more: list[Text] = []
    notes: list[str] = []
    known = {_folded(text) for text in (*texts, *_texts(job, "validation"), *_texts(job, "test"))}
    file = job.inputs.get("unlabelled")
    if file:
        pairs = bool(texts) and not isinstance(texts[0], str)
        column, found = unlabelled_texts(read_table(file, columns.texts), columns, pairs)
        fresh: dict[str, Text] = {}
        for text in found:
            fresh.setdefault(_folded(text), text)
        more += [text for folded, text in fresh.items() if folded not in known]
        if not more:
            raise ConfigError(f"--unlabelled {file}: no text that is not in the data already")
        notes.append(
            f"{len(more)} unlabelled texts from {column} teach too; {len(found) - len(more)} others are in the data "
            "already, or stand there twice"
        )
    if options.augment:
        folder, longest = job.earlier["teacher"].path, int(tokenizer.truncation["max_length"])
        if options.augment.mask > 0:
            mask_of(tokenizer, "the student's tokenizer", MASKS[:1])
            for number, other in enumerate(teacher_folders(folder)[1:], start=2):
                mask_of(load_tokenizer(other / "tokenizer.json", longest), f"teacher {number}'s tokenizer")
        made = augment(texts, folder, longest, options.augment, job.seed)
        copies = [copy for copy in made if _folded(copy) not in known]
        more += copies
        notes.append(
            f"{len(copies)} changed copies of the training texts teach too; of {len(made)} drawn the others changed "
            "nothing, or repeat a text of the data"
        )
    return more, tuple(notes)


def teacher_folders(first: Path) -> list[Path]:
    """The folders of a build's teachers in their order; the others stand below the first one's."""
    return [first, *sorted(first.glob("teacher-*"), key=lambda folder: int(folder.name.split("-")[1]))]


def _folded(text: Text) -> str:
    """A text, or pair, for comparison: upper and lower case are one, and so are all spaces."""
    return "\n".join(" ".join(part.casefold().split()) for part in _parts(text))


def _parts(text: Text) -> Sequence[str]:
    """One text, or the two of a pair."""
    return (text,) if isinstance(text, str) else text


def add_texts(
    training: TokenSplit, more: Sequence[Text], tokenizer: Any, options: TextDistillation, job: Job
) -> TokenSplit:
    """The training split with more texts, their labels unknown; the teachers' answers are computed here."""
    assert training.teacher_logits is not None
    logits = _answers(more, int(tokenizer.truncation["max_length"]), options, job)
    return TokenSplit(
        training.token_ids + encode(tokenizer, more),
        np.concatenate([training.labels, unknown_labels(training, len(more))]),
        np.concatenate([training.teacher_logits, logits]),
        training.task,
    )


def augment(texts: Sequence[Text], folder: Path, max_tokens: int, options: Augment, seed: int) -> list[Text]:
    """Changed copies: each word becomes [MASK], or another word, with the probabilities of `options`; a pair's in both.

    As TinyBERT's (Jiao et al. 2020, arXiv:1909.10351, algorithm 1), but that a word's substitutes are those whose
    vectors in the teacher are nearest to its own, which needs no other model; masking as in Tang et al. 2019
    (arXiv:1903.12136). Only words that are one token are changed. Raises ConfigError where the teacher's tokenizer is
    no WordPiece, or has no [MASK].
    """
    path = folder / "tokenizer.json"
    tokenizer = load_tokenizer(path, max_tokens)
    check_words(path)
    if options.mask > 0:
        mask_of(tokenizer, "teacher 1's tokenizer", MASKS[:1])
    parts = [part for text in texts for part in _parts(text)]
    encodings = tokenizer.encode_batch(parts)
    near = nearest_words(folder, tokenizer, {number for encoding in encodings for number in encoding.ids})
    random = np.random.default_rng([seed, 2])
    copies = [
        _changed(part, e, near, options, random)
        for _ in range(options.copies)
        for part, e in zip(parts, encodings, strict=True)
    ]
    if not texts or isinstance(texts[0], str):
        return [*copies]
    return list(zip(copies[::2], copies[1::2], strict=True))


def nearest_words(folder: Path, tokenizer: Any, wanted: set[int]) -> dict[int, list[str]]:
    """For each of the `wanted` tokens that is a word: the words of the nearest vectors (cosine), nearest first.

    Raises ConfigError where no word could become another.
    """
    vocabulary = tokenizer.get_vocab(with_added_tokens=False)
    words = {number: token for token, number in vocabulary.items() if token.isalpha() and len(token) > 1}
    if len(words) < 2:
        raise ConfigError(
            f"augment: {len(words)} of the {len(vocabulary)} tokens of the teacher's tokenizer are words of "
            "two letters or more; expected two at least"
        )
    numbers = torch.tensor(sorted(words))
    vectors = torch.nn.functional.normalize(_word_vectors(folder)[numbers], dim=1)
    rows = [row for row, number in enumerate(numbers.tolist()) if number in wanted]
    near: dict[int, list[str]] = {}
    for start in range(0, len(rows), 1024):
        block = torch.tensor(rows[start : start + 1024])
        alike = vectors[block] @ vectors.T
        alike[torch.arange(len(block)), block] = -2.0  # not itself
        nearest = alike.topk(min(NEIGHBOURS, len(words) - 1), dim=1).indices
        for row, others in zip(block.tolist(), nearest, strict=True):
            near[int(numbers[row])] = [words[number] for number in numbers[others].tolist()]
    return near


def mask_of(tokenizer: Any, whose: str, possible: Sequence[str] = MASKS) -> str:
    """How this tokenizer writes a masked word. Raises ConfigError where it reads none of `possible` as one token."""
    for mask in possible:
        number = tokenizer.token_to_id(mask)
        if number is not None and tokenizer.encode(mask, add_special_tokens=False).ids == [number]:
            return mask
    raise ConfigError(no_mask(whose, possible))


def _changed(text: str, encoding: Any, near: dict[int, list[str]], options: Augment, random: Any) -> str:
    """One copy of a text."""
    words = encoding.word_ids
    pieces, at = [], 0
    for place, number in enumerate(encoding.ids):
        if number not in near or words.count(words[place]) > 1:
            continue
        drawn, choice = random.random(), random.integers(len(near[number]))
        if drawn < options.mask + options.replace:
            begin, end = encoding.offsets[place]
            pieces += [text[at:begin], MASK if drawn < options.mask else near[number][choice]]
            at = end
    return "".join([*pieces, text[at:]])


def _answers(
    texts: Sequence[Text], max_tokens: int, options: TextDistillation, job: Job
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The mean of the teachers' logits; kept beside the checkpoint, for a step that is taken up again."""
    file = job.checkpoints / "more_logits.npy"
    if file.exists():
        return np.asarray(np.load(file, allow_pickle=False), dtype=np.float32)
    first = job.earlier["teacher"].path
    labels = label_names(read_config(first))
    folders = teacher_folders(first)
    answers = []
    for number, folder in enumerate(folders, start=1):

        def progress(done: int, number: int = number) -> None:
            job.progress(done, len(texts), "texts", f"more answers of teacher {number} of {len(folders)}")

        if read_config(folder)["model_type"] in FAMILIES:
            model: Any = load_encoder(folder)
            pad_id = model.shape.pad_id
        else:
            model = _load_other(folder, labels, max_tokens)
            pad_id = model.pad_id
        tokenizer = load_tokenizer(folder / "tokenizer.json", max_tokens)
        own = texts
        if number > 1 and options.augment and options.augment.mask > 0:
            mask = mask_of(tokenizer, f"teacher {number}'s tokenizer")
            own = [_masked_as(mask, text) for text in texts]
        token_ids = encode(tokenizer, own)
        with torch.autocast("cpu", torch.bfloat16, enabled=uses_bfloat16(options.precision)):
            answers.append(predict(model, token_ids, pad_id=pad_id, progress=progress))
    mean = np.mean(answers, axis=0, dtype=np.float32)
    content = io.BytesIO()
    np.save(content, mean)
    write_bytes(file, content.getvalue())
    return np.asarray(mean)


def _masked_as(mask: str, text: Text) -> Text:
    """The text with another tokenizer's mask."""
    return text.replace(MASK, mask) if isinstance(text, str) else [part.replace(MASK, mask) for part in text]


def _word_vectors(folder: Path) -> torch.Tensor:
    if read_config(folder)["model_type"] in FAMILIES:
        return load_encoder(folder).word.weight.detach()
    vectors = _load_other(folder, label_names(read_config(folder)), 8).model.get_input_embeddings().weight
    return torch.as_tensor(vectors).detach()


def _load_other(folder: Path, labels: tuple[str, ...], max_tokens: int) -> Any:
    from ..network.hf_model import load_hf_classifier

    return load_hf_classifier(folder, labels, 0, max_tokens)


def _texts(job: Job, split: str) -> Sequence[Text]:
    dataset = job.earlier["dataset"].path
    return read_texts(job, split) if (dataset / f"{split}.jsonl").exists() else []
