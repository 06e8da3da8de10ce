from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from edgekit.errors import ConfigError
from edgekit.stages.text.vocabulary import SPECIAL_TOKENS, kept_tokens, make_wordpiece, prune_tokenizer


def wordpiece(tokens: list[str], post_processor: dict[str, Any]) -> dict[str, Any]:
    """A tokenizer.json over these tokens."""
    vocab = {token: number for number, token in enumerate(tokens)}
    return {
        "version": "1.0", "truncation": None, "padding": None, "normalizer": None,
        "pre_tokenizer": {"type": "BertPreTokenizer"}, "post_processor": post_processor, "decoder": None,
        "added_tokens": [{"id": vocab["[PAD]"], "content": "[PAD]", "single_word": False, "lstrip": False,
                          "rstrip": False, "normalized": False, "special": True}],
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": vocab},
    }  # fmt: skip


TOKENS = ["[PAD]", "unused", "[UNK]", "[CLS]", "a", "##a", "b", "##b", "aba", "##bab", "[SEP]", "bb", "##é"]


def kept(content: dict[str, Any], used: set[int]) -> list[str]:
    return [TOKENS[number] for number in kept_tokens(content, used, "here")]


def test_what_is_used_stays_and_so_do_special_tokens_and_characters() -> None:
    content = wordpiece(TOKENS, {"type": "BertProcessing", "sep": ["[SEP]", 10], "cls": ["[CLS]", 3]})
    always = ["[PAD]", "unused", "[UNK]", "[CLS]", "a", "##a", "b", "##b", "[SEP]", "##é"]
    assert kept(content, set()) == always, "'unused' has letters that could not be spelt without it"
    assert kept(content, {11}) == [*always[:-1], "bb", "##é"]
    assert "aba" not in kept(content, {11})
    assert "aba" in kept(content, {8})


def test_a_continuation_is_spelt_in_continuations() -> None:
    tokens = ["[PAD]", "[UNK]", "a", "b", "##b", "##ab", "##bb"]
    keep = kept_tokens(wordpiece(tokens, {"type": "BertProcessing", "sep": ["", 0], "cls": ["", 0]}), set(), "here")
    assert [tokens[number] for number in keep] == tokens[:-1], "without ##ab, 'bab' could not be spelt: there is no ##a"


@pytest.mark.parametrize(
    "post_processor",
    [
        {"type": "BertProcessing", "sep": ["[SEP]", 10], "cls": ["[CLS]", 3]},
        {"type": "Sequence", "processors": [{"type": "RobertaProcessing", "sep": ["[SEP]", 10], "cls": ["[CLS]", 3]}]},
        {"type": "TemplateProcessing", "single": [], "pair": [], "special_tokens": {
            "[CLS]": {"id": "[CLS]", "ids": [3], "tokens": ["[CLS]"]},
            "[SEP]": {"id": "[SEP]", "ids": [10], "tokens": ["[SEP]"]}}},
    ],
)  # fmt: skip
def test_every_number_in_the_file_is_renewed(post_processor: dict[str, Any]) -> None:
    content = wordpiece(TOKENS, post_processor)
    content["padding"] = {"pad_id": 0, "pad_token": "[PAD]"}
    before = json.dumps(content)
    keep = [number for number in kept_tokens(content, set(), "here") if TOKENS[number] != "unused"]
    pruned = prune_tokenizer(content, keep)
    assert json.dumps(content) == before, "the old content is changed"
    vocab = pruned["model"]["vocab"]
    assert list(vocab.values()) == list(range(len(keep)))
    assert [TOKENS[number] for number in keep] == list(vocab)
    assert pruned["added_tokens"][0]["id"] == vocab["[PAD]"] == pruned["padding"]["pad_id"]
    numbers = json.dumps(pruned["post_processor"])
    assert f"{vocab['[SEP]']}]" in numbers and f"{vocab['[CLS]']}]" in numbers
    assert "10]" not in numbers


def test_another_kind_of_tokenizer_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"here: .*WordPiece, not BPE; possible: 'keep'"):
        kept_tokens({"model": {"type": "BPE", "vocab": {}}, "added_tokens": []}, set(), "here")


@pytest.mark.heavy
def test_a_vocabulary_made_from_texts_spells_all_of_them() -> None:
    from tokenizers import Tokenizer

    texts = ["The Café is closed", "the café is open, the door is not", "日本 the"]
    content = make_wordpiece(texts, 60)
    vocab = content["model"]["vocab"]
    assert tuple(vocab)[:5] == SPECIAL_TOKENS
    assert content == make_wordpiece(texts, 60)
    assert {"the", "is", "cafe"} <= set(vocab), "words that occur twice, in lower case and without accents"
    assert "closed" not in vocab
    tokenizer = Tokenizer.from_str(json.dumps(content))
    assert tokenizer.encode("the café closed").tokens == (
        ["[CLS]", "the", "cafe", "c", "##l", "##o", "##s", "##e", "##d", "[SEP]"]
    )
    assert not any("[UNK]" in tokenizer.encode(text).tokens for text in texts)
    characters = len({*"thecafeisclosedopen,doornot日本"})
    assert len(make_wordpiece(texts, 5)["model"]["vocab"]) == 5 + 2 * characters, "characters stay at any size"


def random_text(random: Random, words: list[str]) -> str:
    """English words, pieces of them, and characters of any script."""

    def word() -> str:
        kind = random.random()
        if kind < 0.5:
            return random.choice(words)
        if kind < 0.8:
            one, other = random.choice(words), random.choice(words)
            return one[: random.randrange(len(one) + 1)] + other[random.randrange(len(other)) :]
        return "".join(chr(random.choice((random.randrange(33, 0x250), random.randrange(0x370, 0x2FFF),
                                          random.randrange(0x3040, 0x9FFF), random.randrange(0x1F300, 0x1F700))))
                       for _ in range(random.randrange(1, 8)))  # fmt: skip

    return " ".join(word() for _ in range(random.randrange(1, 12)))


def spelt(tokens: list[str]) -> str:
    """The characters that tokens stand for."""
    return "".join(token.removeprefix("##") for token in tokens if token not in ("[CLS]", "[SEP]"))


@pytest.mark.heavy
def test_a_pruned_vocabulary_spells_every_text_as_before(shared_data: Callable[[str], Path]) -> None:
    from tokenizers import Tokenizer

    content = json.loads((shared_data("models/minilm-sst2") / "tokenizer.json").read_text(encoding="utf-8"))
    old = Tokenizer.from_str(json.dumps(content))
    lines = (shared_data("text/sst2") / "dev.tsv").read_text(encoding="utf-8").splitlines()[1:]
    corpus = [line.split("\t")[0] for line in lines]
    used = {number for encoding in old.encode_batch(corpus) for number in encoding.ids}
    keep = kept_tokens(content, used, "here")
    assert len(used) < len(keep) < 0.3 * old.get_vocab_size()
    new = Tokenizer.from_str(json.dumps(prune_tokenizer(content, keep)))
    assert [e.tokens for e in old.encode_batch(corpus)] == [e.tokens for e in new.encode_batch(corpus)]
    random = Random(5)
    words = sorted(content["model"]["vocab"])
    words = [word for word in words if word.isalpha()]
    for _ in range(3000):
        text = random_text(random, words)
        old.no_truncation()
        new.no_truncation()
        before, after = old.encode(text), new.encode(text)
        assert spelt(before.tokens) == spelt(after.tokens), text
        assert [keep[number] for number in after.ids] == [content["model"]["vocab"][token] for token in after.tokens]
