from __future__ import annotations

import io
import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from edgekit.cli import cli
from edgekit.errors import BundleError
from edgekit.ondevice.__main__ import main


def test_arguments_are_texts(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["infer", "--bundle", str(bundle), "ab", "abcdefgh"]) == 0
    assert capsys.readouterr().out == "short\t0.9526\nlong\t0.9526\n"


def test_a_file_has_a_text_a_line(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "texts").write_bytes(b"ab\r\n\nabcdefg\xff")
    assert main(["infer", "--bundle", str(bundle), "--file", str(tmp_path / "texts"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [a["input"] for a in document["answers"]] == ["ab", "", "abcdefg\ufffd"]
    assert [a["label"] for a in document["answers"]] == ["short", "short", "long"]
    assert document["answers"][0]["probabilities"]["short"] == pytest.approx(0.95257, abs=1e-5)
    assert document["truncated"] == 0


def test_edgekit_run_reads_the_same_lines(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "texts").write_bytes(b"a film\t\r\n\n \t\n ab\n")
    done = CliRunner().invoke(cli, ["run", str(bundle), "--file", str(tmp_path / "texts"), "--json"])
    assert [a["input"] for a in json.loads(done.stdout)["answers"]] == ["a film\t", " ab"]


def test_texts_that_are_not_utf_8(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["infer", "--bundle", str(bundle), "--json", "ab\udcff"]) == 0
    assert json.loads(capsys.readouterr().out)["answers"][0]["input"] == "ab\ufffd"
    done = CliRunner().invoke(cli, ["run", str(bundle), "ab\udcff"])
    assert isinstance(done.exception, BundleError) and "not UTF-8" in str(done.exception)


@pytest.mark.parametrize("lines", [False, True])
def test_names_of_files_need_not_be_utf_8(
    bundle: Path, lines: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[bytes] = []
    task = SimpleNamespace(parse_word=lambda word: opened.append(os.fsencode(word)), show=lambda answer: "cat")
    predictor = SimpleNamespace(
        task=task, part="prepare", substitute=None, device="CPU", truncated=0, answer=lambda sample: {"label": "cat"}
    )
    monkeypatch.setattr("edgekit.ondevice.__main__.Predictor", lambda *_, **__: predictor)
    monkeypatch.setattr("edgekit.ondevice.infer.Predictor", lambda *_, **__: predictor)
    (tmp_path / "names").write_bytes(b"\xff.png\n")
    given = ["--file", str(tmp_path / "names")] if lines else ["\udcff.png"]
    assert main(["infer", "--bundle", str(bundle), "--json", *given]) == 0
    assert json.loads(capsys.readouterr().out)["answers"][0]["input"] == "\ufffd.png"
    if not lines:
        assert CliRunner().invoke(cli, ["run", str(bundle), *given]).stdout == "cat\t\ufffd.png\n"
    assert set(opened) == {b"\xff.png"}


def test_standard_input_is_read_where_nothing_else_is_given(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"a b c d e f\n")))
    assert main(["infer", "--bundle", str(bundle)]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("short\t")
    assert captured.err == "ondevice: 1 of the samples were too long and lost their end\n"


def test_what_cannot_run_is_one_line(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["infer", "--bundle", str(tmp_path), "a"]) == 2
    assert main(["infer", "--bundle", str(bundle), "--file", str(tmp_path / "none")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    first, second = captured.err.splitlines()
    assert first == f"ondevice: {tmp_path}: no manifest.json; a bundle's folder has one"
    assert second == f"ondevice: {tmp_path / 'none'}: cannot be read: No such file or directory"


def test_verify_says_that_all_is_well(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--bundle", str(bundle)]) == 0
    assert capsys.readouterr().out == (
        "numbers 1.0: 3 files are whole; 2 golden samples agree (largest difference 0)\n"
    )


def test_verify_says_what_differed(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    golden = json.loads((bundle / "golden.json").read_text())
    golden["samples"][1]["outputs"] = [[0.0, 4.5]]
    (bundle / "golden.json").write_text(json.dumps(golden))
    manifest = json.loads((bundle / "manifest.json").read_text())
    del manifest["files"]["golden.json"]
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    assert main(["verify", "--bundle", str(bundle)]) == 1
    assert capsys.readouterr().out == (
        "differs by 0.5 (tolerance 0.01): long, expected long: 'many words'\n"
        "numbers 1.0: 2 files are whole; 1 of 2 golden samples differ\n"
    )
    assert main(["verify", "--bundle", str(bundle), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["max_difference"] == 0.5


@pytest.mark.parametrize("words", [["infer", "--threads", "0", "a"], ["verify", "--threads", "x"], []])
def test_words_that_mean_nothing_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert "usage:" in capsys.readouterr().err
