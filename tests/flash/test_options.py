"""Options of `edgekit flash` that cannot mean anything: one line each, before a device is asked."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from edgekit.cli import cli
from edgekit.cli.service_options import check_listening


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


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "localhost.example.com", "127.bogus", "192.168.0.7", "LOCALHOST"])
def test_a_service_that_can_be_reached_from_outside_needs_a_token(host: str) -> None:
    with pytest.raises(click.UsageError, match="can be reached from outside"):
        check_listening(host, None, socket=False, token_file=None)
    check_listening(host, None, socket=False, token_file="/etc/edgekit/token")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.7.7.7", "::1", "localhost"])
def test_a_service_for_this_device_alone_needs_none(host: str) -> None:
    check_listening(host, 80, socket=False, token_file=None)


@pytest.mark.parametrize("host", ["", "a b", "-o", "a/b", "a\nb", "fe80::1%", "kitchen."])
def test_a_host_that_is_neither_an_address_nor_a_name(host: str) -> None:
    with pytest.raises(click.UsageError, match="expected an address"):
        check_listening(host, None, socket=False, token_file="/t")


def test_an_empty_word_is_a_word() -> None:
    assert "--host, --token-file: only with --service" in refused("flash", "b", "local:/n", "--host=", "--token-file=")
    assert "a Unix socket has no --host" in refused("flash", "b", "local:/n", "--service", "--socket", "--host=")
    assert "found ''" in refused("flash", "b", "local:/n", "--service", "--token-file=")
