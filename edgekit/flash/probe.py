"""What is there: the agent's answer to `probe`, and the interpreter that a bundle can run with."""

from __future__ import annotations

from contextlib import suppress
from hashlib import sha256
from typing import Any

from .fit import Needs, lacking, wheel_python
from .remote import Refusal, Remote

Probe = dict[str, Any]


def ask(remote: Remote, needs: Needs, python: str | None, check: bool = False) -> Probe:
    """The agent's answer, with what an interpreter there has of the bundle's packages.

    `check` compares every file of what runs there. Raises Refusal for an interpreter that cannot be run.
    """
    return remote.call("probe", packages=list(needs.packages), python=python, check=check)


def choose_python(remote: Remote, needs: Needs, probe: Probe) -> tuple[Probe, str | None]:
    """The probe of an interpreter there that the bundle can run with, where there is one; None: the one asked about."""
    if needs.wheels:
        python = wheel_python(needs, probe)
        return {**probe, "python": python}, None if python == probe["python"] else python
    return _ask_others(remote, needs, probe) if lacking(needs, probe) else (probe, None)


def _ask_others(remote: Remote, needs: Needs, probe: Probe) -> tuple[Probe, str | None]:
    """Of another interpreter there that has the runtime: what runs now, or one that lies around."""
    shown = remote.call("show")["releases"] if probe["current"] else []
    ran = [release["python"] for release in shown if release["current"] and release["python"]]
    for python in dict.fromkeys([*ran, *probe["pythons"]]):
        if python == probe["python"]:
            continue
        with suppress(Refusal):  # one that cannot even start is no help, and no obstacle
            other = {**ask(remote, needs, python), "pythons": probe["pythons"]}
            if not lacking(needs, other):
                return other, python
    return probe, None


def unlike(probe: Probe, signature: str | None) -> str | None:
    """Why a device that runs a bundle does not run it as it is here, `signature` included; None: it does."""
    if probe["pending"] is not None:
        return "another edgekit is switching it"
    if not probe["current_whole"]:
        return str(probe["current_problem"])
    if signature is not None and sha256(signature.encode()).hexdigest() != probe["current_signature"]:
        return "it has another signature"
    return None


def describe(probe: Probe) -> str:
    """A device in a few words."""
    libc = " ".join(str(part) for part in probe["libc"] if part)
    python = probe["pythons"].get(probe["python"], "")
    words = [
        probe["machine"] or probe["arch"], libc, f"Python {python}" if python else "",
        f"{probe['free_mb']:.0f} MB free" if probe["free_mb"] is not None else "", runs(probe),
    ]  # fmt: skip
    return ", ".join(word for word in words if word)


def runs(probe: Probe) -> str:
    """What a device runs, in words."""
    current = probe["current"]
    return f"runs {current['name'] or current['digest'][:16]}" if current else "runs no bundle yet"
