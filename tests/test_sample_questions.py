"""The sample task of question answering."""

from __future__ import annotations

import hashlib

from edgekit.tasks.sample_questions import SIZES, generate


def test_every_answer_stands_where_it_is_said_and_no_report_is_in_two_splits() -> None:
    splits = generate()
    assert {split: len({q.context for q in questions}) for split, questions in splits.items()} == SIZES
    reports = [report for questions in splits.values() for report in {q.context for q in questions}]
    assert len(reports) == len(set(reports))
    for questions in splits.values():
        for one in questions:
            assert one.question.endswith("?")
            assert all(text and one.context.startswith(text, at) for text, at in one.answers)


def test_some_questions_can_only_be_answered_by_the_device_that_they_name() -> None:
    """Two devices have what is asked for, and both are asked about."""
    asked: dict[tuple[str, str], set[str]] = {}
    for one in generate()["train"]:
        kind = " ".join(one.question.split()[:2])
        asked.setdefault((one.context, kind), set()).add(one.answers[0][0])
    assert sum(len(answers) > 1 for answers in asked.values()) > 50


def test_its_bytes_are_the_same_everywhere() -> None:
    lines = [f"{one.id}|{one.question}|{one.context}|{one.answers}" for one in generate()["test"]]
    assert generate(1)["test"] != generate()["test"]
    assert (
        hashlib.sha256("\n".join(lines).encode()).hexdigest()
        == "4ae5a69c84915130359370bca43831016377a746feaa91d3e63cd237bafeb477"
    )
