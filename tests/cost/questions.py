"""`edgekit cost`, asked and answered."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from edgekit.cli.cost import command
from edgekit.errors import EdgekitError

BASE = {
    "--edge-qps": "100", "--edge-device-usd": "80", "--utilisation": "0.5", "--per-day": "2000000",
    "--cloud": "g4dn.xlarge", "--cloud-qps": "752",
}  # fmt: skip


def words(**changes: str | None) -> list[str]:
    """The options of a plain comparison, with some changed (None: left out)."""
    options = {**BASE, **{f"--{name.replace('_', '-')}": value for name, value in changes.items()}}
    return [word for name, value in options.items() if value is not None for word in (name, value)]


def ask(*options: str) -> dict[str, Any]:
    """The document of `edgekit cost … --json`."""
    done = CliRunner().invoke(command, [*options, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.output)


def refused(*options: str) -> str:
    with pytest.raises(EdgekitError) as caught:
        CliRunner().invoke(command, list(options), catch_exceptions=False)
    return str(caught.value)


def row(document: dict[str, Any], name: str) -> dict[str, Any]:
    [found] = [one for one in document["inputs"] if one["name"] == name]
    return found
