"""Long texts as overlapping windows that fit a model, and what the model says of the windows put together again.

Two windows share a third of the model's tokens, so that every place is read with some text on both sides of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

#: Part of a model's tokens that neighbouring windows share, and that a question may take up: 128 of 384, as the
#: published SQuAD models were measured.
SHARE = 3
#: Fewer tokens than this leave no room for a window.
LEAST_TOKENS = 16
#: Candidates for each end of a span, and the most tokens of an answer: those of BERT's run_squad.py.
BEST = 20
LONGEST_ANSWER = 30


class Window(list[int]):
    """A window's token ids, and where each token stands; `places` has None for a token that is asked nothing.

    In a context a place is (first character, character after the last), among words the number of the word that the
    token begins.
    """

    def __init__(self, ids: Iterable[int], places: list[Any]) -> None:
        super().__init__(ids)
        self.places = places


class Windows:
    """Cuts by one `tokenizers.Tokenizer`, whose settings it changes; `truncated` counts questions that were cut."""

    def __init__(self, native: Any, max_tokens: int) -> None:
        native.no_padding()
        self._native, self._max_tokens, self._shared = native, max_tokens, max_tokens // SHARE
        self.truncated = 0

    def of_context(self, question: str, context: str) -> list[Window]:
        """The question before each window of the context. A question of more than a third of the tokens is cut."""
        question = self._short(question)
        self._native.enable_truncation(self._max_tokens, stride=self._shared, strategy="only_second")
        first = self._native.encode(question, context)
        return [
            Window(part.ids, [x if of == 1 else None for x, of in zip(part.offsets, part.sequence_ids)])
            for part in (first, *first.overflowing)
        ]

    def of_words(self, words: Sequence[str]) -> list[Window]:
        """Windows of a text that is words already."""
        self._native.enable_truncation(self._max_tokens, stride=self._shared)
        first = self._native.encode(list(words), is_pretokenized=True)
        windows = []
        begun: set[int] = set()
        for part in (first, *first.overflowing):
            before: Any = None
            places: list[Any] = []
            for word in part.word_ids:
                # at the start of a window may be the rest of a word that began in the window before
                begins = word is not None and word != before and (before is not None or word not in begun)
                places.append(word if begins else None)
                before = word
            begun.update(word for word in part.word_ids if word is not None)
            windows.append(Window(part.ids, places))
        return windows

    def _short(self, question: str) -> str:
        """A question of at most a third of the tokens."""
        self._native.no_truncation()
        offsets = self._native.encode(question, add_special_tokens=False).offsets
        if len(offsets) <= self._shared:
            return question
        self.truncated += 1
        return question[: offsets[self._shared - 1][1]]


def best_spans(windows: Sequence[Window], outputs: Sequence[Array]) -> list[tuple[float, tuple[int, int]]]:
    """The likeliest answers over all windows, best first: the sum of both logits, and the span of characters.

    Each output is [tokens, 2], the logits of start and end. Spans lie in the context, end where they start or after,
    and have at most 30 tokens. Of each span the best score counts; empty without a context.
    """
    found: dict[tuple[int, int], float] = {}
    for window, logits in zip(windows, outputs):
        inside = np.array([at for at, place in enumerate(window.places) if place is not None], dtype=np.int64)
        starts, ends = (inside[np.argsort(-logits[inside, which], kind="stable")[:BEST]] for which in (0, 1))
        scores = np.add.outer(logits[starts, 0].astype(np.float64), logits[ends, 1])
        longer = ends - starts[:, None]
        scores[(longer < 0) | (longer >= LONGEST_ANSWER)] = -np.inf
        for pair in np.argsort(-scores, axis=None, kind="stable")[:BEST].tolist():
            start, end = divmod(pair, len(ends))
            score = float(scores[start, end])
            if score > -np.inf:
                span = window.places[starts[start]][0], window.places[ends[end]][1]
                found[span] = max(score, found.get(span, score))
    ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    return [(score, span) for span, score in ordered[:BEST]]


def of_each_word(windows: Sequence[Window], outputs: Sequence[Array], count: int) -> list[Array | None]:
    """The logits of each word's first token, from the window in which it has most neighbours on its poorer side.

    Each output is [tokens, labels]. None for a word that is no token.
    """
    best: list[tuple[int, Array] | None] = [None] * count
    for window, logits in zip(windows, outputs):
        for at, word in enumerate(window.places):
            if word is None:
                continue
            neighbours = min(at, len(window) - 1 - at)
            known = best[word]
            if known is None or neighbours > known[0]:
                best[word] = neighbours, logits[at]
    return [None if one is None else one[1] for one in best]


def gather_spans(windows: Sequence[Window], outputs: Sequence[Array]) -> Array:
    """`best_spans` as one array: a row for each, its first character, the one after its last, and its score."""
    found = best_spans(windows, outputs)
    return np.array([[*span, score] for score, span in found], dtype=np.float64).reshape(-1, 3)


def gather_words(windows: Sequence[Window], outputs: Sequence[Array], count: int) -> Array:
    """`of_each_word` as one array [words, labels]; not a number for a word that is no token."""
    labels = outputs[0].shape[1]
    rows = of_each_word(windows, outputs, count)
    return np.array([np.full(labels, np.nan) if row is None else row for row in rows], dtype=np.float32)
