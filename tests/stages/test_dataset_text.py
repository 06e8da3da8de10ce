from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from edgekit.artifact import Job, Outcome
from edgekit.errors import ConfigError
from edgekit.stages import dataset_text
from edgekit.tasks.text_classification import Examples, load


def tsv(path: Path, rows: Iterable[tuple[str, object]], header: str = "text\tlabel\n") -> None:
    path.write_text(header + "".join(f"{text}\t{label}\n" for text, label in rows), encoding="utf-8")


def many(count: int, start: str = "text", labels: str = "ab") -> list[tuple[str, object]]:
    return [(f"{start} {n}", labels[n % len(labels)]) for n in range(count)]


def run(data: Path, work: Path, seed: int = 0, **options: object) -> Outcome:
    work.mkdir(exist_ok=True)
    job = Job(
        work=work, checkpoints=work, inputs={"data": data}, earlier={}, progress=lambda *_: None, seed=seed
    )  # fmt: skip
    return dataset_text.run(None, dataset_text.Options.model_validate(options), job)


def record(work: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads((work / "dataset.json").read_text(encoding="utf-8"))
    return content


def pairs(examples: Examples) -> list[tuple[str, str]]:
    return [(t, examples.label_names[n]) for t, n in zip(examples.texts, examples.labels, strict=True)]


def refusal(data: Path, work: Path, **options: object) -> str:
    with pytest.raises(ConfigError) as caught:
        run(data, work, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return tmp_path / "work"


def test_three_files_with_and_without_a_header(data: Path, work: Path) -> None:
    tsv(data / "train.tsv", many(8), header="sentence\tlabel\n")
    tsv(data / "dev.tsv", [("dev text", "a")] * 3, header="sentence\tlabel\n")
    tsv(data / "test.tsv", [("test text", "b")] * 2, header="")
    outcome = run(data, work)
    assert outcome.metrics == {"train": 8, "validation": 3, "test": 2, "labels": 2}
    assert sorted(pairs(load(work, "train"))) == sorted(many(8))
    assert pairs(load(work, "test")) == [("test text", "b")] * 2
    assert record(work) == {
        "schema": 1,
        "labels": ["a", "b"],
        "counts": {"train": 8, "validation": 3, "test": 2},
        "source": "data",
        "sample_task": False,
    }


def test_one_file_becomes_three_splits_with_each_class_alike(data: Path, work: Path) -> None:
    tsv(data / "all.tsv", many(200, labels="aaab"))
    outcome = run(data / "all.tsv", work)
    assert outcome.metrics == {"train": 160, "validation": 20, "test": 20, "labels": 2}
    parts = {split: pairs(load(work, split)) for split in ("train", "validation", "test")}
    assert sorted(row for part in parts.values() for row in part) == sorted(many(200, labels="aaab"))
    assert {split: Counter(label for _, label in part)["b"] for split, part in parts.items()} == {
        "train": 40, "validation": 5, "test": 5
    }  # fmt: skip
    assert any("20 validation and 20 test rows split off" in note for note in outcome.notes)


def test_the_split_depends_on_what_the_rows_say_not_on_their_order(data: Path, tmp_path: Path) -> None:
    tsv(data / "one.tsv", many(100))
    tsv(data / "two.tsv", reversed(many(100)))
    for name, seed in (("one", 0), ("two", 0), ("one", 1)):
        run(data / f"{name}.tsv", tmp_path / f"{name}{seed}", seed)
    files = [(tmp_path / work / "test.jsonl").read_bytes() for work in ("one0", "two0", "one1")]
    assert files[0] == files[1] != files[2]


def test_any_number_of_first_rows_is_a_fair_sample(data: Path, work: Path) -> None:
    tsv(data / "all.tsv", sorted(many(400, labels="ab"), key=lambda row: str(row[1])))
    run(data / "all.tsv", work)
    for split, limit in (("train", 100), ("validation", 20), ("test", 20)):
        counts = Counter(label for _, label in pairs(load(work, split, limit)))
        assert 0.3 < counts["a"] / limit < 0.7


def test_validation_is_split_off_where_only_it_lacks(data: Path, work: Path) -> None:
    tsv(data / "train.tsv", many(100))
    tsv(data / "test.tsv", many(10, "test"))
    outcome = run(data, work)
    assert outcome.metrics == {"train": 90, "validation": 10, "test": 10, "labels": 2}
    assert any("10 validation rows split off" in note for note in outcome.notes)


def test_no_test_split_is_made_up_beside_a_given_validation_split(data: Path, work: Path) -> None:
    tsv(data / "train.tsv", many(10))
    tsv(data / "dev.tsv", many(4, "dev"))
    outcome = run(data, work)
    assert record(work)["counts"] == {"train": 10, "validation": 4}
    assert not (work / "test.jsonl").exists()
    assert any("no labelled test split" in note for note in outcome.notes)


def test_texts_of_the_held_out_splits_leave_the_training_rows(data: Path, work: Path) -> None:
    tsv(data / "train.tsv", [*many(10), ("dev 0", "b"), (" test 1 ", "a")])
    tsv(data / "dev.tsv", many(4, "dev"))
    tsv(data / "test.tsv", many(4, "test"))
    outcome = run(data, work)
    assert outcome.metrics["train"] == 10
    assert "2 training rows dropped, whose texts also stand in validation or test" in outcome.notes


def test_rows_without_text_or_label_are_dropped_and_counted(data: Path, work: Path) -> None:
    tsv(data / "train.tsv", [*many(30), ("", "a"), ("no label", ""), ("   ", "b")])
    outcome = run(data, work)
    assert sum(outcome.metrics[s] for s in ("train", "validation", "test")) == 30
    assert "3 rows of the train split without a text or a label dropped" in outcome.notes


def test_half_a_surrogate_pair_does_not_stop_it(data: Path, work: Path) -> None:
    rows = [{"text": f"\ud800 {n}", "label": n % 2} for n in range(40)]
    (data / "train.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    run(data, work)
    assert all(text.startswith("? ") for text in load(work, "train").texts)


@pytest.mark.parametrize("mark", ["-1", ""])
def test_an_unlabelled_test_file_is_left_out(data: Path, work: Path, mark: str) -> None:
    tsv(data / "train.tsv", many(40, labels="01"))
    tsv(data / "test.tsv", [("a test", mark)] * 3)
    outcome = run(data, work)
    assert "the test split has no labels and is left out" in outcome.notes
    assert outcome.metrics["test"] == 4  # split off the training rows instead


def test_a_test_file_without_a_label_column_is_left_out(data: Path, work: Path) -> None:
    tsv(data / "train.tsv", many(40), header="sentence\tlabel\n")
    tsv(data / "test.tsv", [(str(n), f"test {n}") for n in range(4)], header="index\tsentence\n")
    assert "the test split has no labels and is left out" in run(data, work).notes


def test_a_header_in_the_test_file_alone_is_heeded(data: Path, work: Path) -> None:
    tsv(data / "train.tsv", many(40), header="")
    tsv(data / "test.tsv", [("a", "first"), ("b", "second")], header="label\ttext\n")
    run(data, work)
    assert sorted(pairs(load(work, "test"))) == [("first", "a"), ("second", "b")]


def test_minus_one_is_a_class_where_the_training_rows_have_it(data: Path, work: Path) -> None:
    rows = [(f"text {n}", n % 3 - 1) for n in range(30)]
    tsv(data / "train.tsv", rows)
    tsv(data / "test.tsv", [("a test", -1)] * 2)
    assert run(data, work).metrics["test"] == 2
    assert record(work)["labels"] == ["-1", "0", "1"]


def test_columns_by_name_by_content_and_as_told(data: Path, tmp_path: Path) -> None:
    lines = [f"{n},{'xy'[n % 2]},{'pq'[n % 2]},brief {n},a much longer text {n}" for n in range(40)]
    (data / "named.csv").write_text("\n".join(["id,category,other,kind,review", *lines]))
    (data / "plain.csv").write_text("\n".join(["id,alpha,beta,gamma,delta", *lines]))
    notes = {
        name: run(data / f"{name}.csv", tmp_path / f"{name}{len(options)}", **options).notes[0]
        for name, options in (("named", {}), ("plain", {}))
    }
    told = run(data / "plain.csv", tmp_path / "told", text_column="gamma", label_column="beta")
    assert notes["named"] == "texts from column 'review', labels from column 'category'"
    assert notes["plain"] == "texts from column 'delta', labels from column 'alpha'"
    assert told.notes[0] == "texts from column 'gamma', labels from column 'beta'"


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([("x", "a"), ("y", "a")], {}, "train.tsv: column 'label': all 2 rows have the label 'a'"),
        ([*many(4), ("z", "c")], {}, "train.tsv: column 'label': 1 of 3 classes have one row only ('c')"),
        ([("", "a"), ("y", "")], {}, "train.tsv: no row has both a text and a label"),
        (many(4), {}, "train.tsv: too few different texts to split"),
        (many(4), {"label_column": "lable"}, "train.tsv: no label column 'lable'; did you mean 'label'?"),
        (many(4), {"text_column": "body"}, "train.tsv: no text column 'body'; possible: label, text"),
    ],
)
def test_data_that_cannot_be_used(
    data: Path, work: Path, rows: list[tuple[str, object]], options: dict[str, object], message: str
) -> None:
    tsv(data / "train.tsv", rows)
    assert message in refusal(data, work, **options)


def test_no_label_column(data: Path, work: Path) -> None:
    (data / "train.csv").write_text("text,id\n" + "".join(f"words {n},{n}\n" for n in range(20)))
    assert "train.csv: no label column; its columns: text, id" in refusal(data, work)
    (data / "train.csv").write_text("text\n" + "words\n" * 20)
    assert "train.csv: no label column; its columns: text" in refusal(data, work)


def test_the_same_file_twice_teaches_nothing(data: Path, work: Path) -> None:
    tsv(data / "train.tsv", many(8))
    tsv(data / "test.tsv", many(8))
    assert "every training text also stands in the validation or test split" in refusal(data, work)


def test_a_label_that_is_never_taught(data: Path, work: Path) -> None:
    tsv(data / "train.tsv", many(8))
    tsv(data / "test.tsv", [("t", "c")])
    assert "label 'c' of the test split never occurs in the training rows" in refusal(data, work)


@pytest.mark.parametrize(
    ("labels", "teacher", "names", "ids"),
    [
        ("ab", (), ["a", "b"], {"a": 0, "b": 1}),
        (["10", "9", "2"], (), ["2", "9", "10"], {"2": 0, "9": 1, "10": 2}),
        (["1.0", "0.0"], (), ["0", "1"], {"0": 0, "1": 1}),
        (["POSITIVE", "negative"], ("Negative", "Positive"), ["Negative", "Positive"], {"Negative": 0, "Positive": 1}),
        ("01", ("negative", "positive"), ["negative", "positive"], {"negative": 0, "positive": 1}),
        ("10", ("LABEL_0", "LABEL_1"), ["LABEL_0", "LABEL_1"], {"LABEL_0": 0, "LABEL_1": 1}),
        ("01", ("1", "0"), ["1", "0"], {"1": 0, "0": 1}),  # names go before numbers
        ("ca", ("a", "b", "c"), ["a", "b", "c"], {"a": 0, "c": 2}),
    ],
)
def test_labels_follow_the_teacher(
    data: Path, work: Path, labels: list[str], teacher: tuple[str, ...], names: list[str], ids: dict[str, int]
) -> None:
    rows = [(f"text {n}", labels[n % len(labels)]) for n in range(60)]
    tsv(data / "train.tsv", rows)
    outcome = run(data, work, teacher_labels=teacher)
    assert record(work)["labels"] == names
    train = load(work, "train")
    assert {train.label_names[n]: int(n) for n in train.labels} == ids
    unused = sorted(set(names) - set(ids))
    assert any(f"no text has the label {', '.join(unused)}" in note for note in outcome.notes) == bool(unused)


@pytest.mark.parametrize(("labels", "names"), [("ab", ["a", "b"]), ("YX", ["x", "y"]), ("10", ["x", "y"])])
def test_a_teacher_that_is_trained_in_any_case_learns_other_labels(
    data: Path, work: Path, labels: str, names: list[str]
) -> None:
    tsv(data / "train.tsv", many(60, labels=labels))
    run(data, work, teacher_labels=("x", "y"), learns_labels=True)
    assert record(work)["labels"] == names


@pytest.mark.parametrize(
    ("labels", "teacher", "message"),
    [
        ("ab", ("x", "y"), "labels 'a', 'b' are not the teacher's; the teacher knows 'x', 'y'"),
        ("ax", ("x", "y"), "labels 'a' are not the teacher's"),
        ("1a", ("x", "y"), "labels 'a' are not the teacher's"),
        ("1x", ("x", "y"), "labels '1' are not the teacher's"),
        ("12", ("x", "y"), "labels '2' are no ids; the teacher knows 'x', 'y', so 0 … 1"),
        ("ab", ("LABEL_0", "LABEL_1"), "names its own LABEL_0 … LABEL_1, so which is which cannot be known"),
    ],
)
def test_labels_that_the_teacher_does_not_know(
    data: Path, work: Path, labels: str, teacher: tuple[str, ...], message: str
) -> None:
    tsv(data / "train.tsv", many(60, labels=labels))
    assert message in refusal(data, work, teacher_labels=teacher)


@pytest.mark.heavy
def test_sst2(shared_data: Callable[[str], Path], work: Path) -> None:
    outcome = run(shared_data("text/sst2"), work, teacher_labels=("negative", "positive"))
    assert outcome.metrics == {"train": 67_343, "validation": 872, "test": 1_821, "labels": 2}
    dev = load(work, "validation")
    assert int(dev.labels.sum()) == 444
    assert dict(pairs(dev))["unflinchingly bleak and desperate"] == "negative"


def test_ag_news(shared_data: Callable[[str], Path], work: Path) -> None:
    outcome = run(shared_data("text/ag_news"), work)
    assert outcome.metrics["test"] == 7_600
    assert outcome.metrics["train"] + outcome.metrics["validation"] == 10_001 - 10
    assert record(work)["labels"] == ["Business", "Sci/Tech", "Sports", "World"]
    # 8 stand in the test file, 2 are copies of rows that became validation rows
    assert "10 training rows dropped, whose texts also stand in validation or test" in outcome.notes
