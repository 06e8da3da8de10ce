"""The profiler as a child process: what is kept of it where it ends well, early, by force, or not at all."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from edgekit import measure
from edgekit.errors import ProfileError, TransportError
from edgekit.measure import run_profiler, run_profiler_elsewhere
from edgekit.ondevice.profiler.document import document_id


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """`child(code)`: what `run_profiler` makes of a profiler that is this code."""

    def started(code: str) -> tuple[dict[str, Any], list[str]]:
        script = tmp_path / "profiler.py"
        script.write_text(f"import json, os, signal, sys\n{code}\n")
        real = measure.subprocess.Popen
        monkeypatch.setattr(
            measure.subprocess, "Popen", lambda words, **more: real([sys.executable, str(script)], **more)
        )
        said: list[str] = []
        return run_profiler(["--model", "x.tflite"], said.append), said

    return started


def test_the_last_whole_line_counts_and_progress_is_passed_on(child: Any) -> None:
    document, said = child(
        'print(json.dumps({"a": 1, "partial": None})); print(json.dumps({"a": 2, "partial": None}))\n'
        'print("INFO: a runtime speaks", file=sys.stderr); print("ondevice: warm-up, 1 s …", file=sys.stderr)'
    )
    assert document == {"a": 2, "partial": None}
    assert said == ["warm-up, 1 s"]


def test_a_killed_profiler_leaves_what_it_had_marked_partial(child: Any) -> None:
    document, _ = child(
        'print(json.dumps({"a": 1, "partial": None, "id": "x"})); print(\'{"a": 2, "par\', end="", flush=True)\n'
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert document["a"] == 1
    assert document["partial"] == "the profiler was killed by SIGKILL"
    assert document["id"] == document_id(document)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ('print("ondevice: x.tflite: is empty", file=sys.stderr); sys.exit(2)', "x.tflite: is empty"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "the profiler was killed by SIGSEGV, nothing was measured"),
        (
            'print("ondevice: warm-up, 1 s …", file=sys.stderr, flush=True); os.kill(os.getpid(), signal.SIGKILL)',
            "the profiler was killed by SIGKILL, nothing was measured after: warm-up, 1 s …",
        ),
        ("raise ValueError('a bug')", "the profiler ended with exit code 1: ValueError: a bug"),
        ("print('no JSON')", "the profiler ended with exit code 0: it said nothing"),
    ],
)
def test_nothing_measured_is_one_line_that_says_why(child: Any, code: str, message: str) -> None:
    with pytest.raises(ProfileError) as refused:
        child(code)
    assert str(refused.value) == message


def test_documents_are_json_objects() -> None:
    assert measure._whole("[1]") is None
    assert measure._whole(json.dumps({"a": 1})) == {"a": 1}


def test_a_profiler_elsewhere_keeps_what_it_had_when_the_line_breaks() -> None:
    said: list[str] = []

    def run(out: Any, err: Any) -> int:
        err("ondevice: warm-up, 1 s …")
        out("a runtime greets")
        out(json.dumps({"kind": "edgekit-profile", "a": 1, "partial": None, "id": "x"}))
        raise TransportError("pi@kitchen: the connection broke")

    document = run_profiler_elsewhere(run, "pi@kitchen", said.append)
    assert said == ["warm-up, 1 s"]
    assert (document["a"], document["address"]) == (1, "pi@kitchen")
    assert document["partial"] == "pi@kitchen: the connection broke"
    assert document["id"] == document_id(document)


def test_a_profiler_elsewhere_that_measured_nothing_says_why() -> None:
    def refuses(out: Any, err: Any) -> int:
        err("ondevice: model.tflite: is empty")
        return 2

    with pytest.raises(ProfileError, match=r"^pi@kitchen: model\.tflite: is empty$"):
        run_profiler_elsewhere(refuses, "pi@kitchen", lambda _: None)

    def breaks(out: Any, err: Any) -> int:
        raise TransportError("pi@kitchen: the connection broke")

    with pytest.raises(TransportError):
        run_profiler_elsewhere(breaks, "pi@kitchen", lambda _: None)
