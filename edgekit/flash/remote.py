"""The agent on a device, as a function call: it is brought there when it is missing, and answers with one document."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import sha256
from typing import Any

from ..agentfile import AgentFile, build_agent
from ..errors import DeviceError
from ..inventory import Device
from ..transports import Done, Transport
from ..transports.transport import Hear

#: The agent's, which refuses any other.
PROTOCOL = 1
#: How long one edgekit waits for another one's command on the same device.
WAIT_S = 30.0
#: What the agent's own limit is exceeded by before the host gives up.
GRACE_S = 15.0
#: How long a service may take to take a release up, beyond the release's own start.
SERVICE_S = 30.0
#: Where a user keeps the runtime, as our refusals advise; a device has it beside its releases.
VENV = "venv/bin/python"
NO_AGENT, _NO_PYTHON = 66, 67
#: How the agent's own last words begin where it cannot even read a request.
_SPEAKER = "edgekit: "

#: $1 base, $2 agent, $3 its size, $4 its sha256, $5 an interpreter or nothing, then its words. A device without the
#: agent, or with one whose content is another, says so by its exit code.
_LAUNCH = f"""
agent=$1/agent/$2; size=$3; sum=$4; given=$5; venv=$1/{VENV}; shift 5
[ -f "$agent" ] && [ "$(wc -c < "$agent")" -eq "$size" ] || exit {NO_AGENT}
if command -v sha256sum > /dev/null 2>&1; then
  [ "$(sha256sum < "$agent" | cut -c1-64)" = "$sum" ] || exit {NO_AGENT}
fi
if [ -n "$given" ]; then set -- "$given" "$agent" "$@"
elif [ -x "$venv" ]; then set -- "$venv" "$agent" "$@"
else set -- python3 "$agent" "$@"; fi
command -v "$1" > /dev/null 2>&1 || exit {_NO_PYTHON}
exec "$@"
"""
_AS_ROOT = 'if [ "$(id -u)" = 0 ]; then exec "$@"; else exec sudo -n -- "$@"; fi'
#: A line that breaks ends the file early, which is not one then.
_BRING = """
mkdir -p "$1/agent" && cat > "$1/agent/.$2.$$" || exit 1
if [ "$(wc -c < "$1/agent/.$2.$$")" -eq "$3" ]; then
  { sync "$1/agent/.$2.$$" 2> /dev/null || sync; } && mv "$1/agent/.$2.$$" "$1/agent/$2"
else rm -f "$1/agent/.$2.$$"; exit 1; fi
"""


class Refusal(DeviceError):
    """The agent's own answer that it will not or could not; `kind` is refused, failed or busy."""

    def __init__(self, line: str, answer: Mapping[str, Any]) -> None:
        super().__init__(line)
        self.answer = answer
        self.kind = str(answer.get("kind", "failed"))


class Remote:
    """A device's agent over an open transport."""

    def __init__(self, transport: Transport, device: Device, wait_s: float = WAIT_S, as_root: bool = False) -> None:
        self.transport = transport
        self.device = device
        self.wait_s = wait_s
        self.as_root = as_root  # by sudo, which must not ask; then the device's base must be a whole path

    def call(
        self, command: str, *, limit_s: float | None = None, hear: Hear | None = None, **fields: Any
    ) -> dict[str, Any]:
        """One command's answer, its texts printable; the line is given up after `limit_s`.

        Raises Refusal where the agent says no, DeviceError where there is no answer.
        """
        return self._call(command, fields, limit_s, hear)

    def switch(self, command: str, step_s: float, hear: Hear | None = None, **fields: Any) -> dict[str, Any]:
        """`activate` or `rollback`: the golden samples before the switch and after it, then the service's health.

        Each may take `step_s` there; all together end there before the line is given up here.
        """
        whole_s = 2 * step_s + SERVICE_S
        content = {"health_s": step_s, "limit_s": whole_s, **fields}
        return self._call(command, content, self.wait_s + whole_s + GRACE_S, hear)

    def _call(
        self, command: str, fields: Mapping[str, Any], limit_s: float | None, hear: Hear | None
    ) -> dict[str, Any]:
        content, hear = self.request(**fields), _printable_to(hear) if hear else None
        done = self.transport.run(self.words(command), content, limit_s, hear)
        if done.code == NO_AGENT:
            self.bring()
            done = self.transport.run(self.words(command), content, limit_s, hear)
        return self.read(done)

    def request(self, **fields: Any) -> bytes:
        """What the agent reads from its stdin."""
        return json.dumps({"protocol": PROTOCOL, "base": self.device.base, "wait_s": self.wait_s, **fields}).encode()

    def words(self, command: str) -> list[str]:
        """What runs the agent there."""
        agent = _agent()
        size, digest = str(len(agent.content)), sha256(agent.content).hexdigest()
        given = [self._base, agent.name, size, digest, self.device.python or "", command]
        words = ["sh", "-c", _LAUNCH, "edgekit", *given]
        return ["sh", "-c", _AS_ROOT, "edgekit", *words] if self.as_root else words

    def bring(self) -> None:
        """Put the agent there."""
        agent = _agent()
        words = ["sh", "-c", _BRING, "edgekit", self._base, agent.name, str(len(agent.content))]
        done = self.transport.run(words, agent.content)
        if done.code:
            raise DeviceError(
                f"{self.device.name}: {self.device.base}: cannot be written there: {_one_line(_last(done.stderr))}; "
                "choose a folder that this user may write (--base), or free some space"
            )

    def read(self, done: Done) -> dict[str, Any]:
        """The answer in the last line of what the agent printed."""
        if done.code == _NO_PYTHON:
            raise DeviceError(self._no_python())
        try:
            answer = json.loads(_last(done.stdout.decode("utf-8", "replace")))
        except ValueError:
            answer = None
        if not isinstance(answer, dict) or "ok" not in answer:
            raise DeviceError(self._no_answer(done))
        if not answer["ok"]:
            raise Refusal(f"{self.device.name}: {_one_line(answer.get('error'))}", answer)
        return {key: _printable(value) for key, value in answer.items()}

    @property
    def _base(self) -> str:
        """The base for a shell: every session begins in the user's home."""
        return self.device.base.removeprefix("~/")

    def _no_python(self) -> str:
        if self.device.python:
            return (
                f"{self.device.name}: no {self.device.python} there; name another python in the inventory or --python"
            )
        return (
            f"{self.device.name}: no python3 there, which edgekit needs (3.9 or newer): sudo apt install python3 "
            "python3-venv; or name the interpreter (python in the inventory, --python)"
        )

    def _no_answer(self, done: Done) -> str:
        said = _last(done.stderr) or _last(done.stdout.decode("utf-8", "replace"))
        if done.code == 1 and said.startswith(_SPEAKER):
            return f"{self.device.name}: {_one_line(said.removeprefix(_SPEAKER))}"
        return f"{self.device.name}: the agent there gave no answer (exit code {done.code}): {_one_line(said)}"


@cache
def _agent() -> AgentFile:
    return build_agent()


def _last(text: str) -> str:
    lines: Sequence[str] = text.strip().splitlines()
    return lines[-1].strip() if lines else ""


def _one_line(said: object) -> str:
    """What a device says, on one line of printable characters: it goes to a terminal."""
    text = " ".join(str(said or "").split()) or "it said nothing"
    return str(_printable(text))[:600]


def _printable(value: Any) -> Any:
    """An answer without what could act on a terminal."""
    if isinstance(value, str):
        return "".join(c if c.isprintable() else "?" for c in value)
    if isinstance(value, list):
        return [_printable(part) for part in value]
    if isinstance(value, dict):
        return {_printable(key): _printable(part) for key, part in value.items()}
    return value


def _printable_to(hear: Hear) -> Hear:
    return lambda line: hear(_printable(line))
