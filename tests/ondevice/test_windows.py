"""Windows of long texts, and the answers put together again from them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from edgekit.ondevice.windows import LONGEST_ANSWER, Window, Windows, best_spans, of_each_word

tokenizers = pytest.importorskip("tokenizers")

WORDS = [f"w{n}" for n in range(60)]


@pytest.fixture
def native() -> Any:
    from edgekit.stages.text.vocabulary import make_wordpiece

    return tokenizers.Tokenizer.from_str(json.dumps(make_wordpiece([" ".join(WORDS)] * 2 + ["Über zoo?"], 200)))


def test_windows_cover_the_context_and_say_where_each_token_stands(native: Any) -> None:
    context = "Über  " + " ".join(WORDS)
    windows = Windows(native, 24).of_context("w1 w2?", context)
    assert len(windows) > 2
    covered: set[int] = set()
    for window in windows:
        assert len(window) == len(window.places) <= 24
        told = [place for place in window.places if place is not None]
        # [CLS] w 1 … ? [SEP] come before the context, [SEP] after it
        front = window.places.index(told[0])
        assert window.places[front:-1] == told and window.places[-1] is None
        assert [native.id_to_token(n) for n in window[:front]] == ["[CLS]", "w1", "w2", "?", "[SEP]"]
        for number, (start, end) in zip(window[front:-1], told, strict=True):
            piece = native.id_to_token(number).removeprefix("##")
            assert piece in (context[start:end].lower(), "u", "b", "e", "r"), "its characters are those of the context"
            covered.update(range(start, end))
    assert covered == {at for at, letter in enumerate(context) if letter != " "}
    ends = [w.places[-2] for w in windows]
    starts = [next(p for p in w.places if p) for w in windows]
    shared = [
        sum(p is not None and start <= p for p in w.places) for w, start in zip(windows, starts[1:], strict=False)
    ]
    assert set(shared) == {8}, "a third of the tokens, which two windows share"
    assert ends == sorted(ends)


def test_a_long_question_is_cut_and_counted(native: Any) -> None:
    windows = Windows(native, 24)
    short = windows.of_context("w1", "w5 w6")
    assert (windows.truncated, len(short)) == (0, 1)
    long = windows.of_context(" ".join(WORDS), " ".join(WORDS))
    assert windows.truncated == 1
    assert all(sum(place is None for place in w.places) == 3 + 8 for w in long)


def test_each_word_is_asked_where_it_begins_and_once_in_a_window(native: Any) -> None:
    words = [*WORDS[:30], "zzzzzzzz", *WORDS[30:40], "zzzz", "w1"]
    windows = Windows(native, 16).of_words(words)
    assert len(windows) > 2
    asked = [[p for p in w.places if p is not None] for w in windows]
    assert all(found == sorted(set(found)) for found in asked)
    assert set().union(*asked) == set(range(len(words)))
    for window in windows:
        for number, place in zip(window, window.places, strict=True):
            if place is not None:
                token = native.id_to_token(number)
                assert token == words[place] or (token == "z" and words[place].startswith("z")), "its first token"


def test_a_word_that_leaves_no_token_has_no_place(native: Any) -> None:
    windows = Windows(native, 16).of_words(["w1", "\u200b\u0000", "w2"])
    assert [p for p in windows[0].places if p is not None] in ([0, 2], [0, 1, 2])
    outputs = [np.arange(2 * len(windows[0]), dtype=np.float32).reshape(-1, 2)]
    assert of_each_word([Window([1, 2], [None, 1])], outputs, 2)[0] is None


def by_hand(windows: list[Window], outputs: list[Any]) -> tuple[float, tuple[int, int]]:
    """Every pair of tokens of every window, without any cut to the best ones."""
    every = [
        (float(x[i, 0]) + float(x[j, 1]), (w.places[i][0], w.places[j][1]))
        for w, x in zip(windows, outputs, strict=True)
        for i in range(len(w))
        for j in range(i, min(len(w), i + LONGEST_ANSWER))
        if w.places[i] is not None and w.places[j] is not None
    ]
    return max(every)


def test_the_best_span_is_the_best_of_all_pairs() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        windows = [
            Window(range(40), [None] * 5 + [(at, at + 1) for at in range(first, first + 34)] + [None])
            for first in (0, 20)
        ]
        # 34 tokens of the context: pairs beyond the 20 best of each end can win, so peaks are made to stand out
        outputs = [random.normal(0, 1, (40, 2)).astype(np.float32) for _ in windows]
        for x in outputs:
            x[random.integers(5, 39, 3), 0] += 4
            x[random.integers(5, 39, 3), 1] += 4
        found = best_spans(windows, outputs)
        score, span = by_hand(windows, outputs)
        assert found[0] == (pytest.approx(score, abs=1e-5), span)
        assert [s for s, _ in found] == sorted((s for s, _ in found), reverse=True)
        assert len({span for _, span in found}) == len(found) <= 20


def test_no_answer_ends_before_it_starts_leaves_the_context_or_is_too_long() -> None:
    places = [None, *((at, at + 1) for at in range(40)), None]
    logits = np.zeros((42, 2), np.float32)
    logits[0] = logits[41] = 99  # outside the context
    logits[30, 0], logits[10, 1] = 9, 9
    assert best_spans([Window(range(42), places)], [logits])[0][0] == 9, "together they are in the wrong order"
    logits[30, 0] = logits[10, 1] = 0
    logits[2, 0], logits[32, 1] = 9, 9
    assert best_spans([Window(range(42), places)], [logits])[0][0] == 9, "together they are 31 tokens"
    logits[31, 1] = 8
    assert best_spans([Window(range(42), places)], [logits])[0] == (17.0, (1, 31)), "30 tokens"
    assert best_spans([Window([1], [None])], [np.zeros((1, 2), np.float32)]) == []


def test_a_word_is_answered_by_the_window_that_shows_more_around_it() -> None:
    first = Window(range(6), [None, 0, 1, 2, 3, None])
    second = Window(range(6), [None, 2, 3, 4, 5, None])
    outputs = [np.full((6, 2), 1.0, np.float32), np.full((6, 2), 2.0, np.float32)]
    found = of_each_word([first, second], outputs, 6)
    assert [float(x[0]) for x in found] == [1, 1, 1, 2, 2, 2]  # word 2: 2 against 1 neighbours; word 3: 1 against 2
