"""The command line as a user meets it, in a process of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from edgekit.cli import COMMANDS, cli


def edgekit(*words: str, stdin: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edgekit", *words],
        capture_output=True, text=True, input=stdin, env={**os.environ, **environment}, timeout=300,
    )  # fmt: skip


def commands(group: click.Command, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    if not isinstance(group, click.Group):
        return [(path, group)]
    context = click.Context(group)
    inner = [(name, group.get_command(context, name)) for name in group.list_commands(context)]
    return [(path, group), *(found for name, c in inner if c for found in commands(c, (*path, name)))]


@pytest.mark.parametrize(("path", "command"), commands(cli), ids=lambda v: " ".join(v) if isinstance(v, tuple) else "")
def test_every_help_text_ends_in_an_example_that_calls_the_command(
    path: tuple[str, ...], command: click.Command
) -> None:
    assert command.help
    example = command.epilog or ""
    assert example.startswith("Example: ")
    assert " ".join(("edgekit", *path)) in example


def test_every_option_says_what_it_is() -> None:
    for path, command in commands(cli):
        for option in command.params:
            if isinstance(option, click.Option):
                assert option.help, f"{path} {option.name}"


def test_the_commands_are_all_there() -> None:
    text = edgekit("--help").stdout
    assert [name for name in COMMANDS if f"\n  {name} " in text] == list(COMMANDS)


@pytest.mark.parametrize("kind", ["recipes", "targets"])
def test_lists_and_shows(kind: str, tmp_path: Path) -> None:
    names = [entry["name"] for entry in json.loads(edgekit(kind, "--json").stdout)]
    assert names
    for name in names:
        assert name in edgekit(kind).stdout
        shown = json.loads(edgekit(kind, name, "--json").stdout)
        assert shown["name"] == name
    assert f"{names[0]}" in edgekit(kind, "nothing-like-it").stderr or edgekit(kind, "nothing-like-it").returncode == 2


def test_plan_says_what_is_cached_and_what_stands_in(tmp_path: Path) -> None:
    words = ("plan", "--recipe", "distilbert-int8", "--target", "raspberrypi", "--store", str(tmp_path))
    text = edgekit(*words).stdout
    assert text.startswith("Sample task: ")
    assert "0 of 7 steps" in text
    assert re.search(r"^1  dataset_text +sample task → dataset  ", text, re.MULTILINE)
    assert "your files" not in text
    assert re.search(r"distill_torch .* losses: response 1$", text, re.MULTILINE)
    document = json.loads(edgekit(*words, "--json").stdout)
    assert document["sample_task"] is True
    assert [s["cached"] for s in document["steps"]] == [False] * 7


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["buidl"], 2, "no command 'buidl'; did you mean 'build'?"),
        (["plan", "--recipe", "distilbert", "--target", "raspberrypi"], 2, "did you mean 'distilbert-int8'?"),
        (["plan", "--recipe", "int8-ptq", "--target", "rasberrypi"], 2, "did you mean 'raspberrypi'?"),
        (["plan", "--recipe", "no/such.toml", "--target", "raspberrypi"], 2, "no/such.toml: no such file"),
        (["plan", "--recipe", "int8-ptq", "--target", "raspberrypi", "--set", "x.y=1"], 2, "no step 'x'"),
        (["plan", "--recipe", "int8-ptq", "--target", "intel-cpu", "--set", "quantize.method=fp16"], 3, "not offered"),
        (["plan", "--recipe", "int8-ptq", "--target", "intel-cpu", "--teacher", "/no/such"], 2, "--data"),
        (["plan", "--recipe", "int8-ptq", "--target", "intel-cpu", "--data", "/no/such"], 2, "--teacher"),
        (["plan", "--recipe", "int8-ptq", "--target", "intel-cpu", "--store", "/dev/null/x"], 7, "cannot be used"),
        (["inspect", "/no/such/bundle"], 6, "/no/such/bundle"),
        (["run", "/no/such/bundle", "text"], 6, "/no/such/bundle"),
        (["store", "rm", "nothing", "--store", "{tmp}"], 7, "no step 'nothing'"),
        (["store", "gc", "--days", "nan", "--store", "{tmp}"], 2, "nan is not a number that can be counted with"),
    ],
)
def test_bad_input_is_one_line_and_a_code(words: list[str], code: int, said: str, tmp_path: Path) -> None:
    done = edgekit(*(w.replace("{tmp}", str(tmp_path)) for w in words), XDG_CACHE_HOME=str(tmp_path))
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) <= 4


def test_doctor_reports_what_is_here() -> None:
    document = json.loads(edgekit("doctor", "--json").stdout)
    text = edgekit("doctor").stdout
    assert "numpy" in json.dumps(document)
    assert "numpy" in text


def test_store_commands(tmp_path: Path) -> None:
    done = edgekit("store", "ls", "--store", str(tmp_path), "--json")
    assert json.loads(done.stdout)["steps"] == []
    assert "removed 0 steps" in edgekit("store", "gc", "--store", str(tmp_path)).stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_and_words(shell: str) -> None:
    assert "_EDGEKIT_COMPLETE" in edgekit("completion", shell).stdout
    words = {"COMP_WORDS": "edgekit build --recipe dist", "COMP_CWORD": "3", "_EDGEKIT_COMPLETE": f"{shell}_complete"}
    done = subprocess.run(
        [Path(sys.executable).with_name("edgekit")], capture_output=True, text=True, env={**os.environ, **words}
    )
    if shell == "bash":
        assert "distilbert-int8" in done.stdout
