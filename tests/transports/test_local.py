"""A folder of this machine as a device, and a device that was written down."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

from edgekit.errors import TransportError
from edgekit.transports import Done, Options, connect, parse_address, recorded
from edgekit.transports.recorded import Recorded


def test_it_runs_puts_and_continues(tmp_path: Path) -> None:
    with connect(parse_address(f"local:{tmp_path}"), Options()) as local:
        done = local.run(["sh", "-c", "cat; echo said >&2; exit 4"], b"in")
        assert done == Done(4, b"in", "said")
        (tmp_path / "a").write_bytes(b"0123456789")
        (tmp_path / "b").write_bytes(b"01234")
        moved: list[int] = []
        local.put(tmp_path / "a", str(tmp_path / "b"), 5, moved.append)
        assert (tmp_path / "b").read_bytes() == b"0123456789"
        assert moved == [5]
        local.put_small({"c": tmp_path / "a"}, str(tmp_path), moved.append)
        assert (tmp_path / "c").read_bytes() == b"0123456789"
        assert local.bytes_sent == 2 + 5 + 10


def test_its_troubles_are_one_line_each(tmp_path: Path) -> None:
    with connect(parse_address(f"local:{tmp_path}"), Options(command_s=0.3)) as local:
        with pytest.raises(TransportError, match="no answer within"):
            local.run(["sh", "-c", "sleep 60 & sleep 60"])  # and its child, which holds the pipes, ends too
        with pytest.raises(TransportError, match="nosuch-program: No such file"):
            local.run(["nosuch-program"])
        (tmp_path / "a").write_bytes(b"x")
        with pytest.raises(TransportError, match="No such file or directory"):
            local.put(tmp_path / "a", str(tmp_path / "no" / "b"), 0, lambda _: None)


def test_a_time_without_an_end_is_no_trouble(tmp_path: Path) -> None:
    with connect(parse_address(f"local:{tmp_path}"), Options(command_s=float("inf"))) as local:
        assert local.run(["true"]).code == 0


def test_a_recorded_device_answers_keeps_and_breaks(tmp_path: Path) -> None:
    assert doctest.testmod(recorded).failed == 0
    device = Recorded(lambda words, stdin: None if words[0] == "break" else Done(0, stdin, "a\nb"))
    heard: list[str] = []
    assert device.run(["cat"], b"x", hear=heard.append).stdout == b"x"
    assert (device.calls, heard) == ([(["cat"], b"x")], ["a", "b"])
    with pytest.raises(TransportError, match="the connection broke"):
        device.run(["break"])
    (tmp_path / "f").write_bytes(b"abc")
    device.put(tmp_path / "f", "there", 1, lambda _: None)
    assert device.files == {"there": b"\0bc"}
