"""What the service answers: /predict, /healthz and /metrics."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import OnDeviceError
from ..infer import Predictor
from ..profiler.machine import Watch
from ..profiler.memory import Peak, resident
from ..tasks import Task
from ..text import kind
from .metrics import CONTENT_TYPE, Metrics, family, gauge, info
from .protocol import JSON_TYPE, Head, Refusal, Response, json_response

METHODS = {"/predict": ("POST",), "/healthz": ("GET", "HEAD"), "/metrics": ("GET", "HEAD")}
MAX_TEXTS = 64
#: Requests that are answered or wait for the model; more are told to come again.
MAX_IN_FLIGHT = 128
#: One text takes seconds at the very most; a worker whose model computes for longer is ended, and started again.
STUCK_SECONDS = 60.0
#: What a request may call its samples.
_KEYS = {"text", "texts", "input", "inputs"}


class Release(NamedTuple):
    """What is served."""

    digest: str  # sha256 of its manifest.json, hex
    name: str
    edgekit: str  # the version that built it
    golden: Mapping[str, Any]  # what verify.compare_golden found
    load_seconds: float


class Access(NamedTuple):
    """Who may ask. Without a token, requests must name this machine as it is, not by some name that leads here."""

    token: str | None = None
    any_host: bool = False


class Answers:
    """The endpoints of one worker; the model computes in one thread, a sample at a time, in the order of arrival."""

    def __init__(self, predictor: Predictor, release: Release, access: Access, memory: Peak) -> None:
        self.metrics = Metrics()
        self.stopping = False
        #: Of the supervisor: {"refused": {"release", "error"} or None, "switches": …, "refusals": …, "restarts": …}
        self.note: Mapping[str, Any] = {}
        self._predictor, self._release, self._memory = predictor, release, memory
        for label in getattr(predictor.task, "labels", ()):
            self.metrics.predictions.add(label, by=0)
        self._token = None if access.token is None else _hashed(access.token)
        self._any_host = access.any_host or access.token is not None
        self._watch = Watch(Path("/"), sorted(os.sched_getaffinity(0)))
        self._thread = ThreadPoolExecutor(1, "model")
        self._in_flight = 0
        self._giving_up = False
        self._started = time.monotonic()

    def admit(self, head: Head) -> None:
        """Token, host, path, method and type of the body."""
        if self._token is not None:
            kind, _, said = head.fields.get("authorization", "").partition(" ")
            if not hmac.compare_digest(_hashed(said.strip()), self._token) or kind.lower() != "bearer":
                raise Refusal(
                    401, "no_token", "needs the header 'Authorization: Bearer TOKEN'", {"WWW-Authenticate": "Bearer"}
                )
        if not self._any_host and not _is_this_machine(head.fields.get("host", "localhost")):
            raise Refusal(421, "bad_request", "Host is some other name; ask localhost, or by address")
        methods = METHODS.get(head.path)
        if methods is None:
            raise Refusal(404, "not_found", f"no such path; possible: {', '.join(METHODS)}")
        if head.method not in methods:
            allowed = ", ".join(methods)
            raise Refusal(405, "bad_request", f"{head.path} takes {allowed}, not {head.method}", {"Allow": allowed})
        kind = head.fields.get("content-type", "").partition(";")[0].strip().lower()
        if head.method == "POST" and kind != JSON_TYPE:
            raise Refusal(415, "bad_request", f"needs the header 'Content-Type: {JSON_TYPE}'")

    async def answer(self, head: Head, body: bytes) -> Response:
        """The response. Raises Refusal."""
        if head.path == "/healthz":
            return self._health()
        if head.path == "/metrics":
            return Response(200, self._exposition().encode(), CONTENT_TYPE)
        began = time.perf_counter()
        samples, single = parse_samples(body, self._predictor.task)
        if self._in_flight >= MAX_IN_FLIGHT:
            raise Refusal(503, "busy", "too many requests wait for the model; come again", {"Retry-After": "1"})
        self._in_flight += 1
        try:
            answers = [await self._one(sample) for sample in samples]
        except OnDeviceError as error:
            raise Refusal(500, "model", str(error)) from None
        finally:
            self._in_flight -= 1
        self.metrics.latency.observe(time.perf_counter() - began)
        content = answers[0] if single else {"answers": answers}
        return json_response(200, {**content, "release": self._release.digest})

    def answered(self, path: str, status: int, reason: str | None) -> None:
        """Count a response."""
        self.metrics.requests.add(path if path in METHODS else "other", str(status))
        if reason is not None:
            self.metrics.errors.add(reason)

    def abandoned(self) -> None:
        """Count a client that went away."""
        self.metrics.errors.add("client_gone")

    def give_up(self) -> None:
        """Answer the text at hand; whoever else waits for the model is told to come again."""
        self._giving_up = True

    def close(self) -> None:
        """Compute no more."""
        self._thread.shutdown(wait=False)

    async def _one(self, sample: Any) -> dict[str, Any]:
        """One sample; between those of a request, others' get their turn."""
        answer, truncated, seconds = await asyncio.get_running_loop().run_in_executor(
            self._thread, self._compute, sample
        )
        task = self._predictor.task
        self.metrics.inference.observe(seconds)
        decision, confidence = task.decision(answer), task.confidence(answer)
        for label in decision if isinstance(decision, list) else [decision]:
            if isinstance(label, str) and label in getattr(task, "labels", ()):
                self.metrics.predictions.add(label)
        if confidence is not None:
            self.metrics.confidence.observe(confidence)
        self.metrics.truncated.add(by=truncated)
        return {**answer, "truncated": bool(truncated)}

    def _compute(self, sample: Any) -> tuple[dict[str, Any], int, float]:
        if self._giving_up:
            raise Refusal(503, "stopping", "the service stops before it gets to this; come again", {"Retry-After": "1"})
        signal.setitimer(signal.ITIMER_REAL, STUCK_SECONDS)  # the kernel's, as a runtime may hold Python's own lock
        try:
            began, before = time.perf_counter(), self._predictor.truncated
            answer = self._predictor.answer(sample)
            return answer, self._predictor.truncated - before, time.perf_counter() - began
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _health(self) -> Response:
        content = {
            "ok": not self.stopping,
            "error": "is stopping" if self.stopping else None,
            "release": self._release.digest,
            "name": self._release.name,
            "runtime": self._predictor.runtime,
            "runtime_version": self._predictor.runtime_version,
            "golden": self._release.golden,
            "load_seconds": self._release.load_seconds,
            "up_seconds": round(time.monotonic() - self._started, 3),
            "refused": self.note.get("refused"),
        }
        return json_response(503 if self.stopping else 200, content)

    def _exposition(self) -> str:
        release, refused = self._release, self.note.get("refused")
        facts = {
            "release": release.digest, "name": release.name, "edgekit": release.edgekit,
            "runtime": self._predictor.runtime, "runtime_version": str(self._predictor.runtime_version),
        }  # fmt: skip
        memory = {"rss": resident()["rss_mb"], "peak": self._memory.peak_rss_mb}
        lines = [
            *info("edgekit_release_info", "The release that answers here.", facts),
            *self.metrics.lines(),
            *gauge("edgekit_in_flight", "Requests that are answered or wait for the model.", self._in_flight),
            *gauge("edgekit_model_load_seconds", "Loading this model and checking it.", release.load_seconds),
            *gauge("edgekit_golden_ok", "Whether the golden samples agree.", float(bool(release.golden["ok"]))),
            *gauge("edgekit_golden_max_difference", "Largest difference, logits.", release.golden["max_difference"]),
            *gauge("edgekit_resident_memory_bytes", "Of this worker.", _bytes(memory["rss"])),
            *gauge("edgekit_peak_memory_bytes", "Of this worker, since it began to load.", _bytes(memory["peak"])),
            *gauge("edgekit_temperature_celsius", "Of the processor.", self._watch.temperature_c()),
            *gauge("edgekit_release_refused", "Whether a newer release was refused.", float(refused is not None)),
        ]
        if refused:
            lines += info("edgekit_release_refused_info", "It, and why.", {k: str(v) for k, v in refused.items()})
        for key, text in (
            ("switches", "Releases that took over."),
            ("refusals", "Releases that did not load or differed."),
            ("restarts", "Workers that had died and were started again."),
        ):
            lines += family(f"edgekit_{key}_total", "counter", text, [((), (), self.note.get(key, 0))])
        return "\n".join(lines) + "\n"


def parse_samples(body: bytes, task: Task) -> tuple[Sequence[Any], bool]:
    """The samples that a body asks for, and whether it is one by the key `text` or `input`. Raises Refusal."""
    try:
        asked = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise _bad(f"the body is not JSON in UTF-8: {error}") from None
    if not isinstance(asked, dict) or len(asked) != 1 or not set(asked) <= _KEYS:
        found = f"the keys {', '.join(sorted(asked))[:80] or 'none'}" if isinstance(asked, dict) else kind(asked)
        raise _bad(f'found {found}; expected {{"text": …}} or {{"texts": [… , …]}}; "input" and "inputs" are the same')
    ((key, given),) = asked.items()
    single = not key.endswith("s")
    given = [given] if single else given
    if not isinstance(given, list):
        raise _bad(f"{key}: found {kind(given)}, expected a list")
    if not 1 <= len(given) <= MAX_TEXTS:
        raise _bad(f"{key}: found {len(given)}, expected 1 to {MAX_TEXTS}")
    samples = []
    for position, one in enumerate(given):
        try:
            samples.append(task.parse(one))
        except OnDeviceError as error:
            raise _bad(f"{key if single else f'{key}[{position}]'}: {error}") from None
    return samples, single


def _bad(message: str) -> Refusal:
    return Refusal(400, "bad_request", message)


def _hashed(token: str) -> bytes:
    """Of one length, whatever the token's, so that comparing tells nothing of it."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def _is_this_machine(host: str) -> bool:
    """Whether a Host field is an address or localhost: a web page may give a name of its own this machine's address."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() and not host.endswith("]") else host
    if name.lower().rstrip(".") == "localhost":
        return True
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _bytes(megabytes: float | None) -> float | None:
    return None if megabytes is None else round(megabytes * 1e6)
