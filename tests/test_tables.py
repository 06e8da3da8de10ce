from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekit.errors import ConfigError
from edgekit.tables import Table, find_splits, read_table

REVIEWS = "".join(f"film {n}\t{'good' if n % 2 else 'bad'}\n" for n in range(6))


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def columns(table: Table) -> dict[str, list[str]]:
    return {name: list(cells) for name, cells in table.columns.items()}


def test_csv_with_quotes_commas_and_line_ends_in_a_cell(tmp_path: Path) -> None:
    table = read_table(write(tmp_path / "a.csv", 'text,label\r\n"one, ""two""\nthree",x\r\nplain,y\r\n'))
    assert columns(table) == {"text": ['one, "two"\nthree', "plain"], "label": ["x", "y"]}
    assert len(table) == 2


def test_csv_by_semicolons_and_with_a_byte_order_mark(tmp_path: Path) -> None:
    table = read_table(write(tmp_path / "a.csv", b"\xef\xbb\xbftext;label\nfine, really;1\n"))
    assert columns(table) == {"text": ["fine, really"], "label": ["1"]}


def test_a_csv_cell_may_be_longer_than_the_modules_own_limit(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    table = read_table(write(tmp_path / "a.csv", f"text,label\n{'a' * 200_000},1\n"))
    assert len(table.columns["text"][0]) == 200_000
    assert csv.field_size_limit() == before


def test_a_quote_in_tsv_is_a_letter(tmp_path: Path) -> None:
    table = read_table(write(tmp_path / "a.tsv", 'text\tlabel\n"a start\tx\nan end"\ty\n"both"\tx\n'))
    assert columns(table)["text"] == ['"a start', 'an end"', '"both"']


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        ('text\tlabel\n"all"\tx\n"are quoted"\ty\n', ["all", "are quoted"]),
        ('text\tlabel\n"he said ""no"""\tx\nplain\ty\n', ['he said "no"', "plain"]),
        ('text\tlabel\n"a tab\there"\tx\nplain\ty\n', ["a tab\there", "plain"]),
    ],
)
def test_a_tsv_that_plainly_is_quoted(tmp_path: Path, content: str, texts: list[str]) -> None:
    assert columns(read_table(write(tmp_path / "a.tsv", content)))["text"] == texts


@pytest.mark.parametrize(
    ("first", "named", "has_header"),
    [
        ("sentence\tlabel\n", (), True),
        ("Class_Index\twhatever\n", (), True),
        ("utterance\tkind of thing\n", (), True),
        ("words spoken: here\tk\n", ("k",), True),
        ("", (), False),
        ("label\tgood\n", (), False),  # 'good' occurs below: a text that reads 'label'
        ("a longer text, with a comma\tgood\n", (), False),
    ],
)
def test_header_detection(tmp_path: Path, first: str, named: tuple[str, ...], has_header: bool) -> None:
    table = read_table(write(tmp_path / "a.tsv", first + REVIEWS), named)
    assert table.has_header == has_header
    assert len(table) == 6 + (bool(first) and not has_header)
    if not has_header:
        assert list(table.columns) == ["column 1", "column 2"]


def test_a_word_over_numbers_alone_is_a_header(tmp_path: Path) -> None:
    rows = "1,one two three\n2,four five\n"
    named, bare = (read_table(write(tmp_path / f"{n}.csv", first + rows)) for n, first in enumerate(["ref,said\n", ""]))
    assert (list(named.columns), len(named), len(bare)) == (["ref", "said"], 2, 2)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", "", "is empty"),
        ("a.csv", "\n \n", "is empty"),
        ("a.csv", "text,label\n", "has a header and no rows"),
        ("a.tsv", "text\tlabel\nx\t1\n\ny\n", "line 4: 1 cells where line 1 has 2"),
        ("a.csv", 'text,label\n"x\ny",1\nz,1,2\n', "line 4: 3 cells where line 1 has 2"),
        ("a.csv", 'text,label\n"never closed,1\nx,2\n', "line 2: unexpected end of data"),
        ("a.csv", "text,text\nx,1\n", "line 1: two columns are called 'text'"),
        ("a.csv", b"text,label\nok,1\ncaf\xe9,0\n", "line 3: byte 0xe9 is not UTF-8 (mixed encodings?)"),
        ("a.jsonl", '{"text": "x"}\n{"text": \n', "line 2: not JSON"),
        ("a.jsonl", '{"text": "x"}\n' + "[" * 9999, "line 2: not JSON"),
        ("a.json", '[{"text": "x"}]', "line 1: a JSON list, not an object"),
        ("a.jsonl", '{"text": ["x"]}\n', "has no rows with plain values"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    path = write(tmp_path / name, content)
    with pytest.raises(ConfigError) as caught:
        read_table(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".pkl", ".pickle", ".npy", ".joblib"])
def test_files_that_can_run_code_are_refused_unread(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(ConfigError, match="can run code"):
        read_table(tmp_path / f"missing{suffix}")


def test_an_unknown_suffix_names_the_possible_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read '\.xlsx' files; possible: \.csv, \.tsv"):
        read_table(tmp_path / "a.xlsx")


def test_json_lines_keep_scalars_and_miss_nothing(tmp_path: Path) -> None:
    content = '{"text": "a\\u2028b", "label": 1, "meta": {"x": 1}}\n\n{"text": "c", "label": null}\n{"label": 2.5}\n'
    assert columns(read_table(write(tmp_path / "a.jsonl", content))) == {
        "text": ["a\u2028b", "c", ""],
        "label": ["1", "", "2.5"],
    }


def test_columns_of_other_values_are_left_out_with_the_first_of_them(tmp_path: Path) -> None:
    lines = (
        '{"a": 1, "b": [1], "c": null, "d": ["x"], "e": "y"}\n{"a": 2, "b": null, "c": {}, "d": [null], "e": ["y"]}\n'
    )
    table = read_table(write(tmp_path / "a.jsonl", lines))
    assert (list(table.columns), table.lists) == (["a"], {"b": [[1], None]})
    assert table.left_out == {"c": "row 2: found {}", "d": "row 2: found [None]", "e": "row 1: found 'y'"}


@pytest.mark.heavy
def test_parquet_with_and_without_class_names(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    plain = arrow.table({"text": ["a", None], "label": [1, 0], "vector": [[1.0], [2.0]]})
    parquet.write_table(plain, tmp_path / "a.parquet")
    assert columns(read_table(tmp_path / "a.parquet")) == {"text": ["a", ""], "label": ["1", "0"]}
    features = b'{"info": {"features": {"label": {"names": ["bad", "good"], "_type": "ClassLabel"}}}}'
    parquet.write_table(plain.replace_schema_metadata({"huggingface": features}), tmp_path / "b.parquet")
    assert columns(read_table(tmp_path / "b.parquet"))["label"] == ["good", "bad"]
    write(tmp_path / "c.parquet", b"PAR1 but no more")
    with pytest.raises(ConfigError, match="cannot be read as Parquet"):
        read_table(tmp_path / "c.parquet")


def test_splits_by_the_start_of_a_name(tmp_path: Path) -> None:
    for name in ("train_full.tsv", "dev.tsv", "test-1.csv", "LICENSE", "testimonials.csv", ".train.csv"):
        write(tmp_path / name, "x")
    found = {split: path.name for split, path in find_splits(tmp_path).items()}
    assert found == {"train": "train_full.tsv", "validation": "dev.tsv", "test": "test-1.csv"}
    assert find_splits(tmp_path / "dev.tsv") == {"all": tmp_path / "dev.tsv"}


def test_a_lone_table_in_a_folder_is_all_of_the_data(tmp_path: Path) -> None:
    write(tmp_path / "reviews.csv", "x")
    write(tmp_path / "LICENSE", "x")
    assert find_splits(tmp_path) == {"all": tmp_path / "reviews.csv"}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "no training file; found nothing"),
        (("dev.tsv", "test.tsv"), "no training file; found dev.tsv, test.tsv"),
        (("a.csv", "b.csv"), "no training file; found a.csv, b.csv"),
        (("train.pkl",), "no training file; found train.pkl; possible: train.csv"),
        (("train.csv", "train_small.csv"), "both train.csv and train_small.csv are for 'train'"),
        (("dev.csv", "train.csv", "valid.csv"), "both dev.csv and valid.csv are for 'validation'"),
    ],
)
def test_folders_without_clear_splits(tmp_path: Path, names: tuple[str, ...], message: str) -> None:
    for name in names:
        write(tmp_path / name, "x")
    with pytest.raises(ConfigError) as caught:
        find_splits(tmp_path)
    assert message in str(caught.value)


def test_folders_of_images_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    with pytest.raises(ConfigError, match=r"found cat/; .*folders of images are for recipes of images"):
        find_splits(tmp_path)


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file or folder"):
        find_splits(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("relative", "rows", "has_header"),
    [
        ("text/sst2/train_full.tsv", 67_349, True),
        ("text/sst2/dev.tsv", 872, True),
        ("text/sst2/test.tsv", 1_821, False),
        ("text/ag_news/train.tsv", 10_001, False),
        ("text/ag_news/test.tsv", 7_600, False),
        ("robustness/imdb_cad/new/test.tsv", 488, True),
    ],
)
def test_real_files(shared_data: Callable[[str], Path], relative: str, rows: int, has_header: bool) -> None:
    table = read_table(shared_data(relative))
    assert (len(table), table.has_header, len(table.columns)) == (rows, has_header, 2)
