"""Files of tagged words, and the score of entities."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.errors import ConfigError, StageError
from edgekit.ondevice.entities import entities
from edgekit.tasks.conll import Sentence, read_sentences
from edgekit.tasks.token_classification import Examples, score

CONLL = """-DOCSTART- -X- O O

EU NNP B-NP B-ORG
rejects VBZ B-VP O

Peter NNP B-NP B-PER
Blackburn NNP I-NP I-PER
"""


def test_columns_and_json_say_the_same(tmp_path: Path) -> None:
    wanted = [Sentence(("EU", "rejects"), ("B-ORG", "O")), Sentence(("Peter", "Blackburn"), ("B-PER", "I-PER"))]
    (tmp_path / "a.conll").write_text(CONLL)
    (tmp_path / "b.txt").write_bytes(CONLL.replace(" ", "\t").replace("\n", "\r\n").encode())
    (tmp_path / "c.jsonl").write_text(
        '{"tokens": ["EU", "rejects"], "ner_tags": [1, 0]}\n\n'
        '{"words": ["Peter", "Blackburn"], "tags": ["B-PER", "I-PER"]}\n'
    )
    for name in ("a.conll", "b.txt", "c.jsonl"):
        assert read_sentences(tmp_path / name, ("O", "B-ORG")) == wanted, name


def test_a_number_sign_is_a_word_where_it_has_a_tag(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("# sent_id = 1\n# text\n#\n# O\none B-PER\n\n#\tO\nb\tI-PER\n")
    assert [one.words for one in read_sentences(tmp_path / "a.txt")] == [("#", "one"), ("#", "b")]


def test_half_a_character_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"tokens": ["a\\ud83d"], "tags": ["O"]}')
    assert read_sentences(tmp_path / "a.jsonl") == [Sentence(("a?",), ("O",))]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", "EU B-ORG\nrejects\n", "line 2: 1 columns, expected 2: word … tag"),
        ("a.txt", "EU\n", "line 1: 1 columns, expected 2"),
        ("a.txt", "EU B-ORG\nrejects X-FOO\n", "line 2: tag 'X-FOO' is not of the BIO scheme; possible: O, B-…, I-…"),
        ("a.txt", "EU\tO\n\tO\n", "line 2: no word before the tag 'O'"),
        ("a.txt", "\n\n", "holds no sentence"),
        ("a.jsonl", '{"tokens": ["a"], "tags": ["O", "O"]}', "line 1: 1 words and 2 tags"),
        ("a.jsonl", '{"tokens": ["a"]}', "line 1: no key 'tags'; found tokens"),
        ("a.jsonl", '{"tokens": ["a"], "tags": [2]}', "line 1: found the tag 2, the teacher names 2 tags"),
        ("a.jsonl", '{"tokens": "a", "tags": ["O"]}', "line 1: key 'tokens': found 'a', expected a list"),
        ("a.jsonl", '{"tokens": [""], "tags": ["O"]}', "line 1: found the word ''"),
        ("a.jsonl", "{", "line 1: not JSON"),
        ("a.jsonl", "[" * 9999, "line 1: not JSON"),
    ],
)
def test_files_of_another_form_are_refused_in_one_line(name: str, content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError) as caught:
        read_sentences(tmp_path / name, ("O", "B-ORG"))
    assert said in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ("O B-PER I-PER O", [("PER", 1, 2)]),
        ("B-PER B-PER", [("PER", 0, 0), ("PER", 1, 1)]),
        ("B-PER I-LOC", [("PER", 0, 0), ("LOC", 1, 1)]),  # another type begins another entity
        ("I-PER I-PER O I-PER", [("PER", 0, 1), ("PER", 3, 3)]),  # IOB1
        ("B-O I-O O I-O", [("O", 0, 1), ("O", 3, 3)]),
        ("B I O I", [("", 0, 1), ("", 3, 3)]),
        ("O O", []),
    ],
)
def test_entities_of_tags(tags: str, found: list[tuple[str, int, int]]) -> None:
    assert entities(tags.split()) == found


def test_scores_worked_out_by_hand() -> None:
    names = ("O", "B-PER", "I-PER", "B-LOC")
    examples = Examples([["w"] * 4, ["w"] * 2], [[1, 2, 0, 3], [1, 0]], names)
    # gold: PER 0-1, LOC 3-3, PER 0-0; found: PER 0-0 (too short), LOC 3-3, PER 0-0: 2 of 3 are right
    found = score([["B-PER", "O", "O", "B-LOC"], ["B-PER", "O"]], examples)
    assert found == {"f1": 2 * 2 / 6, "precision": 2 / 3, "recall": 2 / 3, "accuracy": 5 / 6, "count": 2}
    # an entity ends with its sentence, and one more costs precision alone
    found = score([["B-PER", "I-PER", "O", "B-LOC"], ["I-PER", "B-LOC"]], examples)
    assert (found["precision"], found["recall"], found["f1"]) == (3 / 4, 1, 2 * 3 / 7)
    assert score([["O"] * 4, ["O"] * 2], examples)["f1"] == 0
    with pytest.raises(StageError, match="word by word"):
        score([["O"] * 4, ["O"]], examples)
