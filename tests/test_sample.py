from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

from edgekit.artifact import Job
from edgekit.stages import dataset_text
from edgekit.tasks import sample
from edgekit.tasks.text_classification import load


def test_the_same_bytes_on_every_machine() -> None:
    content = json.dumps(sample.generate(), sort_keys=True).encode()
    assert hashlib.sha256(content).hexdigest() == "edab0bfc342bc66b5b53743a087cc62f04be1819b51ad335027ea8a906570e81"


def test_sizes_and_no_text_twice() -> None:
    rows = sample.generate()
    assert {split: len(part) for split, part in rows.items()} == {"train": 3200, "validation": 400, "test": 400}
    texts = [text.casefold() for part in rows.values() for text, _ in part]
    assert len(set(texts)) == 4000
    assert not any("{" in text or "}" in text for text in texts)


def test_every_topic_is_about_as_frequent() -> None:
    rows = sample.generate()
    for part in rows.values():
        counts = Counter(topic for _, topic in part)
        assert set(counts) == set(sample.SYMPTOMS)
        assert min(counts.values()) > len(part) / 16


def test_another_seed_writes_other_messages() -> None:
    assert sample.generate(1)["test"] != sample.generate(0)["test"]


def test_a_keyword_alone_does_not_solve_it() -> None:
    """Counting each topic's own words over the training rows must leave an eighth of the test rows wrong or more,
    and get three quarters right: neither trivial nor noise."""
    rows = sample.generate()
    seen: dict[str, Counter[str]] = {}
    for text, topic in rows["train"]:
        for word in set(text.split()):
            seen.setdefault(word, Counter())[topic] += 1
    right = 0
    for text, topic in rows["test"]:
        votes = Counter[str]()
        for word in set(text.split()) & set(seen):
            for name, count in seen[word].items():
                votes[name] += (count / seen[word].total()) ** 2  # type: ignore[assignment]
        right += votes.most_common(1)[0][0] == topic
    assert 0.75 < right / len(rows["test"]) < 0.94


def test_the_stage_writes_it(tmp_path: Path) -> None:
    job = Job(work=tmp_path, checkpoints=tmp_path, inputs={}, earlier={}, progress=lambda *_: None)
    outcome = dataset_text.run(None, dataset_text.Options(sample=True), job)
    assert outcome.metrics == {"train": 3200, "validation": 400, "test": 400, "labels": 8}
    examples = load(tmp_path, "test")
    assert [(t, examples.label_names[n]) for t, n in zip(examples.texts, examples.labels, strict=True)] == (
        sample.generate()["test"]
    )
    record = json.loads((tmp_path / "dataset.json").read_text())
    assert record["sample_task"] is True
    assert record["labels"] == sorted(sample.SYMPTOMS)
