"""Options of `edgekit flash` that cannot mean anything: one line each, before a device is asked."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from edgekit.cli import cli


def refused(*words: str) -> str:
    """The one line that says why a usage is none."""
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 2, (done.output, done.exception)
    return done.output.splitlines()[-1]


@pytest.mark.parametrize("option", ["--timeout", "--wait", "--connect-timeout", "--silence-timeout"])
@pytest.mark.parametrize("seconds", ["nan", "inf", "1e10", "604801", "-1"])
def test_seconds_that_no_clock_can_count(option: str, seconds: str) -> None:
    assert option in refused("flash", "no-bundle", "local:/nowhere", option, seconds)
    if option != "--wait":
        assert option in refused("devices", "show", "local:/nowhere", option, seconds)


@pytest.mark.parametrize("option", ["--min-seconds", "--warmup-seconds", "--idle-seconds", "--hz", "--power-w"])
@pytest.mark.parametrize("number", ["nan", "inf"])
def test_a_measurement_by_numbers_that_are_none(option: str, number: str) -> None:
    assert option in refused("profile", "no-model.tflite", option, number)
