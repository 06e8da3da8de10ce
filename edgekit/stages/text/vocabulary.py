"""WordPiece vocabularies: made from texts, and cut down to what a corpus uses; both on a tokenizer.json's content."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any

from ...errors import ConfigError

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def make_wordpiece(texts: Iterable[str], size: int) -> dict[str, Any]:
    """A lower-casing BERT tokenizer.json with at most `size` tokens from `texts`, the same for the same texts.

    It holds the special tokens, every character by itself and as a continuation (so that nothing of these texts is
    unknown), and then the most frequent words that occur at least twice.
    """
    normalizer = {
        "type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None,
        "lowercase": True,
    }  # fmt: skip
    words = _count_words(texts, normalizer)
    characters = sorted({character for word in words for character in word})
    tokens = [*SPECIAL_TOKENS, *characters, *(f"##{character}" for character in characters)]
    frequent = sorted((w for w, n in words.items() if n > 1 and len(w) > 1), key=lambda w: (-words[w], w))
    tokens += frequent[: max(0, size - len(tokens))]
    vocab = {token: number for number, token in enumerate(tokens)}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": vocab[token], "content": token, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": True}
            for token in SPECIAL_TOKENS
        ],
        "normalizer": normalizer,
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "BertProcessing", "sep": ["[SEP]", vocab["[SEP]"]], "cls": ["[CLS]", vocab["[CLS]"]],
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocab,
        },
    }  # fmt: skip


def _count_words(texts: Iterable[str], normalizer: dict[str, Any]) -> Counter[str]:
    from tokenizers import normalizers, pre_tokenizers

    normalize = normalizers.BertNormalizer(**{k: v for k, v in normalizer.items() if k != "type"})
    split = pre_tokenizers.BertPreTokenizer()
    words: Counter[str] = Counter()
    for text in texts:
        words.update(word for word, _ in split.pre_tokenize_str(normalize.normalize_str(text)))
    return words


def kept_tokens(content: dict[str, Any], used: Collection[int], source: str) -> list[int]:
    """The ids that stay when a WordPiece tokenizer.json is cut down to the `used` ids, in their old order.

    Special and added tokens stay, and so does every character, by itself and as a `##` continuation: where the
    vocabulary has both forms of each character, as BERT's has, a word that could be spelt still can. A token with
    a character that lacks a form stays too. Raises ConfigError naming `source` for another kind of tokenizer.
    """
    check_wordpiece(content, source)
    model = content["model"]
    prefix = model["continuing_subword_prefix"]
    vocab: dict[str, int] = model["vocab"]
    keep = set(used) | {token["id"] for token in content["added_tokens"]} | {vocab[model["unk_token"]]}
    for record, key in _numbered(content):
        keep.update(record[key] if isinstance(record[key], list) else [record[key]])
    for token, number in vocab.items():
        characters = token.removeprefix(prefix)
        begins = characters == token
        forms = (character if begins and at == 0 else prefix + character for at, character in enumerate(characters))
        if len(characters) == 1 or any(form not in vocab for form in forms):
            keep.add(number)
    return sorted(keep)


def check_wordpiece(content: dict[str, Any], source: str) -> None:
    """Raises ConfigError naming `source` for a tokenizer.json that cannot be cut down."""
    kind = content["model"].get("type")
    if kind != "WordPiece":
        raise ConfigError(f"{source}: prune.vocabulary = 'corpus' knows WordPiece, not {kind}; possible: 'keep'")


def prune_tokenizer(content: dict[str, Any], keep: list[int]) -> dict[str, Any]:
    """The tokenizer.json with only the tokens `keep` (old ids, ascending); token i of the new one is keep[i]."""
    new_ids = {old: new for new, old in enumerate(keep)}
    pruned = copy.deepcopy(content)
    vocab = content["model"]["vocab"]
    pruned["model"]["vocab"] = {
        token: new_ids[old] for token, old in sorted(vocab.items(), key=lambda item: item[1]) if old in new_ids
    }
    for token in pruned["added_tokens"]:
        token["id"] = new_ids[token["id"]]
    for record, key in _numbered(pruned):
        old = record[key]
        record[key] = [new_ids[number] for number in old] if isinstance(old, list) else new_ids[old]
    return pruned


def _numbered(content: dict[str, Any]) -> list[tuple[Any, Any]]:
    """Every (record, key) outside the vocabulary that holds a token id, or a list of them."""
    found: list[tuple[Any, Any]] = []
    if content.get("padding"):
        found.append((content["padding"], "pad_id"))
    pending = [content.get("post_processor")]
    while pending:
        processor = pending.pop()
        if not processor:
            continue
        pending += processor.get("processors", [])  # of a Sequence
        if processor["type"] in ("BertProcessing", "RobertaProcessing"):
            found += [(processor["sep"], 1), (processor["cls"], 1)]
        elif processor["type"] == "TemplateProcessing":
            found += [(token, "ids") for token in processor["special_tokens"].values()]
    return found
