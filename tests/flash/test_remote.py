"""The agent as a function call, on devices that were written down."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from edgekit.errors import DeviceError, TransportError
from edgekit.flash import Refusal, Remote, run_there
from edgekit.flash.remote import NO_AGENT, PROTOCOL
from edgekit.inventory import Device
from edgekit.transports import Done, parse_address
from edgekit.transports.recorded import Recorded

Reply = Callable[[Sequence[str], bytes], Done | None]


def remote(reply: Reply, **device: Any) -> Remote:
    return Remote(Recorded(reply), Device("kitchen", parse_address("pi@kitchen"), **device))


def answers(*done: Done | None) -> Reply:
    left = list(done)
    return lambda words, stdin: left.pop(0)


def said(answer: dict[str, Any], code: int = 0, before: bytes = b"") -> Done:
    return Done(code, before + json.dumps(answer).encode() + b"\n", "")


def start_sh(script: str) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    return subprocess.Popen(["sh", "-c", script], stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True)


def refused(*done: Done | None, **device: Any) -> str:
    with pytest.raises(DeviceError) as caught:
        remote(answers(*done), **device).call("probe")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_last_line_is_the_answer_whatever_a_login_says_before() -> None:
    device = remote(answers(said({"ok": True, "digest": "d"}, before=b"Welcome to kitchen!\n{}\n")), base="~/my edge")
    assert device.call("stage", digest="d") == {"ok": True, "digest": "d"}
    ((words, stdin),) = device.transport.calls  # type: ignore[attr-defined]
    assert json.loads(stdin) == {"protocol": PROTOCOL, "base": "~/my edge", "wait_s": 30.0, "digest": "d"}
    assert words[:2] == ["sh", "-c"]
    assert words[4] == "my edge"  # a session begins in the home


def test_an_agent_that_is_missing_is_brought_once() -> None:
    device = remote(answers(Done(NO_AGENT, b"", ""), Done(0, b"", ""), said({"ok": True})))
    assert device.call("probe") == {"ok": True}
    calls = device.transport.calls  # type: ignore[attr-defined]
    agent = calls[1][1]
    assert agent.startswith(b"PK")
    assert calls[1][0][-1] == str(len(agent))


def test_a_folder_that_cannot_be_written_says_so() -> None:
    line = refused(Done(NO_AGENT, b"", ""), Done(1, b"", "mkdir: cannot create directory '/opt/x': Permission denied"))
    assert "~/.edgekit: cannot be written there: mkdir: cannot create directory '/opt/x': Permission denied" in line


def test_refusals_of_the_agent_keep_their_kind_and_facts() -> None:
    with pytest.raises(Refusal, match="kitchen: unsigned") as caught:
        remote(answers(said({"ok": False, "error": "unsigned", "kind": "refused", "more": 1}, 1))).call("want")
    assert (caught.value.kind, caught.value.answer["more"], caught.value.exit_code) == ("refused", 1, 10)


def test_what_a_device_says_cannot_write_onto_the_terminal() -> None:
    line = refused(said({"ok": False, "error": "a\x1b]0;title\x07\nb" + "x" * 2000, "kind": "failed"}, 1))
    assert line.startswith("kitchen: a?]0;title? b")
    assert len(line) < 700


def test_no_python_names_the_package_or_the_path() -> None:
    assert "no python3 there, which edgekit needs (3.9 or newer): sudo apt install python3" in refused(
        Done(67, b"", "")
    )
    assert "no /opt/py there" in refused(Done(67, b"", ""), python="/opt/py")


def test_an_old_python_says_what_it_is() -> None:
    line = refused(Done(1, b"", "edgekit: this is Python 3.7; the agent needs 3.9 or newer"))
    assert line == "kitchen: this is Python 3.7; the agent needs 3.9 or newer"


def test_no_answer_is_one_line_too() -> None:
    assert "gave no answer (exit code 1): MemoryError" in refused(Done(1, b"", "Traceback …\nMemoryError"))
    assert "gave no answer (exit code 0): it said nothing" in refused(Done(0, b"", ""))
    assert "gave no answer (exit code 0): [1]" in refused(Done(0, b"[1]\n", ""))


def test_a_line_that_breaks_is_no_fault_of_the_device() -> None:
    with pytest.raises(TransportError, match="the connection broke"):
        remote(answers(None)).call("probe")


def test_what_runs_there_is_heard_line_by_line_without_the_agents_answer() -> None:
    printed = b'hello\n{"truncated": 0}\n' + json.dumps({"ok": True, "code": 3, "digest": "d"}).encode() + b"\n"
    out: list[str] = []
    err: list[str] = []
    device = remote(answers(Done(0, printed, "4711\nondevice: x")))
    assert run_there(device, ["infer"], "text", out.append, err.append, 60) == 3
    assert (out, err) == (["hello", '{"truncated": 0}'], ["ondevice: x"])
    refusal = answers(said({"ok": False, "error": "no release is current", "kind": "refused"}, 1))
    with pytest.raises(Refusal, match="no release is current"):
        run_there(remote(refusal), ["infer"], None, out.append, err.append, 60)


def test_what_falls_silent_there_is_given_up() -> None:
    class Stuck(Recorded):
        def stream(self, words: Sequence[str]) -> subprocess.Popen[bytes]:
            return start_sh("echo 4711 >&2; echo begun; exec sleep 60")

    out: list[str] = []
    stuck = Stuck(answers(Done(0, b"", "")))
    device = Remote(stuck, Device("kitchen", parse_address("pi@kitchen")))
    with pytest.raises(DeviceError, match=r"^kitchen: nothing was said there for 0\.3 s, given up; --timeout allows"):
        run_there(device, ["infer"], "text", out.append, out.append, 0.3)
    assert out == ["begun"]
    assert [words for words, _ in stuck.calls] == [["kill", "-TERM", "4711"]]


def test_it_runs_with_what_the_release_was_verified_with_unless_told_otherwise(tmp_path: Path) -> None:
    class Kept(Recorded):
        def stream(self, words: Sequence[str]) -> subprocess.Popen[bytes]:
            return start_sh(f"cat >> {tmp_path}/requests; echo >> {tmp_path}/requests; echo '{answer}'")

    answer = json.dumps({"ok": True, "code": 0, "digest": "d"})
    device = Remote(Kept(answers()), Device("kitchen", parse_address("pi@kitchen"), python="/usr/bin/python3.11"))
    run_there(device, ["infer"], None, print, print, 60)
    run_there(device, ["infer"], None, print, print, 60, python="/opt/python")
    requests = [json.loads(line) for line in (tmp_path / "requests").read_text().splitlines()]
    assert [request["python"] for request in requests] == [None, "/opt/python"]
