"""The sample task of question answering: made-up reports on devices, and questions about them; always the same bytes.

It is there to try edgekit without data of one's own. What is asked for often stands in the report twice, for one device
and for another, so that to know what kind of thing is asked for is not enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import NamedTuple, TypeVar

from .squad import Question

T = TypeVar("T")

#: Reports by split, and how many questions are asked about each.
SIZES = {"train": 1200, "validation": 120, "test": 120}
QUESTIONS = 3

DEVICES = ("the gateway", "the tablet", "the kiosk", "the scanner", "the camera", "the printer", "the thermostat",
           "the controller", "the tracker", "the terminal", "the hub", "the scale")  # fmt: skip
PEOPLE = ("Ana", "Jonas", "Priya", "Tomasz", "Mei", "Carlos", "the night shift", "our trainee", "a customer")
TIMES = ("on Monday", "on Friday", "last week", "this morning", "yesterday", "at noon", "two days ago")
PLACES = ("the lobby", "the cold store", "the north dock", "the workshop", "the car park", "room {n}", "gate {n}",
          "hall {n}", "line {n}")  # fmt: skip
PARTS = ("the battery", "the power supply", "the antenna", "the memory card", "the front panel", "the main fan",
         "the network cable", "the door contact")  # fmt: skip
CAUSES = ("a loose cable", "an empty battery", "a full disk", "water in the housing", "a wrong password",
          "dust on the lens", "an old driver", "a broken fuse", "too little memory", "a blocked port")  # fmt: skip


class Fact(NamedTuple):
    """Ways to say something of a device {d} with the value {v}, and to ask for it."""

    values: Sequence[str]
    said: Sequence[str]
    asked: Sequence[str]


#: Said of one device or of two.
OF_A_DEVICE = (
    Fact(("v{n}", "v{m}"),
         ("{d} runs version {v}", "version {v} is on {d}", "{d} was moved to version {v}"),
         ("which version does {d} run", "what version is on {d}")),
    Fact(("E{n}", "F{n}"),
         ("{d} shows error {v}", "error {v} came up on {d}", "{d} stopped with error {v}"),
         ("which error does {d} show", "what error came up on {d}")),
    Fact(PLACES,
         ("{d} stands in {v}", "in {v} there is {d}", "{d} was brought to {v}"),
         ("where does {d} stand", "where is {d}", "in which place is {d}")),
    Fact(("{n} minutes", "{n} hours", "{m} days"),
         ("{d} was down for {v}", "for {v} {d} did not answer", "{d} needed {v} to start"),
         ("how long was {d} down", "for how long did {d} not answer", "how much time did {d} need")),
    Fact(CAUSES,
         ("the cause at {d} was {v}", "{v} had stopped {d}", "{d} failed because of {v}"),
         ("what was the cause at {d}", "what had stopped {d}", "why did {d} fail")),
)  # fmt: skip
#: Said once in a report.
OF_A_REPORT = (
    Fact(PEOPLE, ("{v} reported it", "the report came from {v}"), ("who reported it", "who sent the report")),
    Fact(TIMES, ("it began {v}", "it was noticed {v}"), ("when did it begin", "when was it noticed")),
    Fact(PARTS, ("{v} was replaced", "the fix was to replace {v}"), ("what was replaced", "which part was replaced")),
    Fact(("T{n}", "T{m}"), ("the ticket is {v}", "see ticket {v}"),
         ("what is the number of the ticket", "which ticket is it")),
)  # fmt: skip
#: Said of nothing that is asked for.
FILLERS = ("nobody was hurt", "the customer was told", "it works again", "please close it", "more in the file",
           "the weather was fine", "spare parts are in stock")  # fmt: skip

#: Share of the facts of a device that are told of a second one too.
SHARE_OTHER = 0.3


def generate(seed: int = 0) -> dict[str, list[Question]]:
    """Questions by split, no report twice. Only `Random.random` is used: Python promises that it never changes."""
    random = Random(seed)
    seen: set[str] = set()
    splits: dict[str, list[Question]] = {}
    for split, count in SIZES.items():
        questions: list[Question] = []
        while len(questions) < QUESTIONS * count:
            report, asked = _report(random)
            if report not in seen:
                seen.add(report)
                for number, (question, answers) in enumerate(asked):
                    name = f"{split} {len(questions) // QUESTIONS}.{number}"
                    questions.append(Question(name, name.partition(".")[0], question, report, answers))
        splits[split] = questions
    return splits


Asked = tuple[str, tuple[tuple[str, int], ...]]


def _report(random: Random) -> tuple[str, list[Asked]]:
    """A report, and questions with their answers and these's places."""
    first, second = _some(random, DEVICES, 2)
    told: list[tuple[str, str, str]] = []  # sentence, value, question
    for fact in _some(random, OF_A_DEVICE, 2):
        told.append(_say(random, fact, first))
        if random.random() < SHARE_OTHER:
            told.append(_say(random, fact, second))
    told += [_say(random, fact, first) for fact in _some(random, OF_A_REPORT, 1 + int(2 * random.random()))]
    told += [(filler, "", "") for filler in _some(random, FILLERS, 1)]
    told = _some(random, told, len(told))
    report, asked = "", []
    for sentence, value, question in told:
        start = len(report) + sentence.find(value)
        report += sentence[0].upper() + sentence[1:] + ". "
        if value:
            asked.append((question, start, len(value)))
    report = report.strip()
    chosen = _some(random, asked, QUESTIONS)
    answers: list[Asked] = []
    for question, start, length in chosen:
        answers.append((f"{question}?", ((report[start : start + length], start),)))
    return report, answers


def _say(random: Random, fact: Fact, device: str) -> tuple[str, str, str]:
    value = _pick(random, fact.values)
    while "{n}" in value or "{m}" in value:
        value = value.replace("{n}", str(2 + int(random.random() * 38)), 1)
        value = value.replace("{m}", str(1 + int(random.random() * 9)), 1)
    sentence = _pick(random, fact.said).replace("{d}", device).replace("{v}", value)
    return sentence, value, _pick(random, fact.asked).replace("{d}", device)


def _some(random: Random, values: Sequence[T], count: int) -> list[T]:
    """So many of the values, in random order."""
    left = list(values)
    return [left.pop(int(random.random() * len(left))) for _ in range(count)]


def _pick(random: Random, values: Sequence[T]) -> T:
    return values[int(random.random() * len(values))]
