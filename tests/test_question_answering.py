"""SQuAD's files and SQuAD's score."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgekit.errors import ConfigError, StageError
from edgekit.tasks.question_answering import Examples, exact_match, f1, normalise, score
from edgekit.tasks.squad import read_squad

CONTEXT = "The gateway is in the hall. The spare gateway is in the attic."


def squad(path: Path, *questions: dict[str, Any], context: str = CONTEXT) -> Path:
    path.write_text(json.dumps({"data": [{"title": "house", "paragraphs": [{"context": context, "qas": questions}]}]}))
    return path


def asked(name: str, text: str, start: int, **more: Any) -> dict[str, Any]:
    return {"id": name, "question": f"{name}?", "answers": [{"text": text, "answer_start": start}], **more}


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("The  Gateway!", "gateway"),
        ("an apple, a day", "apple day"),
        ("theatre another", "theatre another"),
        ("U.S. — 1,000", "us — 1000"),  # punctuation is ASCII's alone
        ("the", ""),
    ],
)
def test_texts_are_compared_as_squad_compares_them(text: str, plain: str) -> None:
    assert normalise(text) == plain


def test_scores_worked_out_by_hand() -> None:
    assert exact_match("The Hall.", "hall") == 1
    assert exact_match("the hall", "a big hall") == 0
    # found: {in, hall}; gold: {in, big, hall, here}: precision 2/2, recall 2/4
    assert f1("in the hall", "in a big hall here") == pytest.approx(2 * 1 * 0.5 / 1.5)
    # a word counts as often as it stands on both sides: shared {la, la} of 3 and 2
    assert f1("la la la", "la la") == pytest.approx(2 * (2 / 3) * 1 / (2 / 3 + 1))
    assert f1("attic", "hall") == 0
    assert f1("", "hall") == 0
    samples = [{"question": "", "context": ""}] * 3
    answers = [[("in a big hall here", 0), ("in hall", 0)], [("attic", 0)], [("four", 0), ("4", 0)]]
    found = score(["in the hall", "the spare attic", "five"], Examples(samples, answers))
    # the best gold answer counts: 1; then precision 1/2, recall 1; then nothing
    assert found == {"f1": pytest.approx((1 + 2 / 3 + 0) / 3), "exact_match": pytest.approx(1 / 3), "count": 3}
    with pytest.raises(StageError, match="2 answers to 3 questions"):
        score(["a", "b"], Examples(samples, answers))


def test_a_file_is_read_with_all_its_answers(tmp_path: Path) -> None:
    first = {**asked("first", "in the hall", 15), "answers": [
        {"text": "in the hall", "answer_start": 15}, {"text": "the hall", "answer_start": 18},
        {"text": "the hall", "answer_start": 18}]}  # fmt: skip
    impossible = {"id": "no", "question": "why?", "answers": [], "is_impossible": True}
    plausible = asked("no2", "hall", 22, is_impossible=True)
    wrong = asked("moved", "gateway", 30)
    path = squad(tmp_path / "train.json", first, impossible, plausible, wrong)
    reading = read_squad(path)
    assert [q.id for q in reading.questions] == ["first", "moved"]
    assert reading.questions[0].answers == (("in the hall", 15), ("the hall", 18))
    assert reading.questions[0].article == "house"
    assert reading.questions[1].answers == (("gateway", 38),), "the nearer of 4 and 38"
    assert any("2 questions without an answer" in note for note in reading.notes)
    assert any("1 answers do not stand" in note for note in reading.notes)


def test_the_flat_form_is_read_too(tmp_path: Path) -> None:
    rows = [
        {"id": str(n), "title": "house", "context": CONTEXT, "question": "where?",
         "answers": {"text": ["the attic"], "answer_start": [52]}}
        for n in range(2)
    ]  # fmt: skip
    for name, count in (("two.jsonl", 2), ("one.jsonl", 1)):
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows[:count]))
        assert [q.answers for q in read_squad(path).questions] == [(("the attic", 52),)] * count


def test_blanks_around_an_answer_are_no_part_of_it(tmp_path: Path) -> None:
    asks = [asked("q", " in the hall ", 14), asked("p", "hall.", 22)]
    assert [q.answers for q in read_squad(squad(tmp_path / "a.json", *asks)).questions] == [
        (("in the hall", 15),),
        (("hall.", 22),),
    ]


def test_half_a_character_is_replaced_and_moves_nothing(tmp_path: Path) -> None:
    path = squad(tmp_path / "a.json", asked("q", "caf\u00e9 \ud83d", 5), context="\ud83d is caf\u00e9 \ud83d now")
    (question,) = read_squad(path).questions
    assert (question.context, question.answers) == ("? is café ? now", (("café ?", 5),))
    question.context.encode()


def test_articles_without_a_title_are_told_apart_by_what_they_hold(tmp_path: Path) -> None:
    found = []
    for name, context in (("train", CONTEXT), ("dev", CONTEXT.upper())):
        path = tmp_path / f"{name}.json"
        pages = [{"context": context, "qas": [asked("q", context[:3], 0)]}, {"context": "more", "qas": []}]
        path.write_text(json.dumps({"data": [{"paragraphs": pages}]}))
        found.append(read_squad(path).questions[0].article)
    assert found[0] != found[1]


def test_answers_that_are_not_in_their_context_are_named_and_counted(tmp_path: Path) -> None:
    bad = [asked(f"q{n}", "in the cellar", 15) for n in range(5)]
    path = squad(tmp_path / "train.json", asked("fine", "in the hall", 15), *bad)
    with pytest.raises(ConfigError) as caught:
        read_squad(path)
    said = str(caught.value)
    assert said.startswith(
        f"{path}: 5 of 6 questions have an answer that is not in its context: q0 ('in the cellar' at"
    )
    assert "q2" in said and "and 2 more" in said and "q3" not in said and "\n" not in said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        ("{", "not JSON, which SQuAD's files are"),
        ("[" * 9999, "not JSON, which SQuAD's files are"),
        ("[1]", "no list 'data'"),
        ('{"rows": []}', "no list 'data'; found rows"),
        ('{"data": [{"paragraphs": [{"qas": []}]}]}', r"data\[0\].paragraphs\[0\]: key 'context': found None"),
        (
            '{"data": [{"paragraphs": [{"context": "a", "qas": [{"question": 3}]}]}]}',
            r"qas\[0\]: key 'question': found 3",
        ),
        (
            '{"data": [{"paragraphs": [{"context": "a", "qas": [{"question": "b", "answers": '
            '[{"text": "a", "answer_start": "0"}]}]}]}]}',
            "key 'answer_start': found '0', expected a whole number",
        ),
        ('{"data": [{"paragraphs": [{"context": "a", "qas": []}]}]}', "no question with an answer"),
        ('{"question": "a", "context": "b", "answers": []}\n{"question"\n', "line 2: not JSON"),
        ('{"question": "a", "context": "b", "answers": []}\n' + "[" * 9999, "line 2: not JSON"),
        (
            '{"question": "a", "context": "b", "answers": {"text": ["b"], "answer_start": []}}',
            "line 1: key 'answers': found 1 texts and 0 places",
        ),
    ],
)
def test_files_of_another_form_are_refused_in_one_line(content: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "train.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=said) as caught:
        read_squad(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_the_real_file_is_read_and_its_own_answers_score_full_marks(shared_data: Callable[[str], Path]) -> None:
    reading = read_squad(shared_data("qa/xquad_en") / "xquad.en.json")
    questions = reading.questions
    assert (len(questions), reading.notes) == (1190, ())
    assert len({q.context for q in questions}) == 240
    assert all(q.context[at : at + len(text)] == text for q in questions for text, at in q.answers)
    examples = Examples([{}] * 1190, [list(q.answers) for q in questions])
    assert score([q.answers[0][0] for q in questions], examples) == {"f1": 1, "exact_match": 1, "count": 1190}
    halves = [" ".join(q.answers[0][0].split()[:1]) for q in questions]
    partly = score(halves, examples)
    assert partly["exact_match"] < partly["f1"] < 1
