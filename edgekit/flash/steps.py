"""One device from the first contact to a bundle that runs there, or to the line that says why not.

connect   the one connection that all else goes over
probe     what is there; refused here: what cannot work
want      announced and checked there (trust, order, room on the disk); the answer says which files are missing
send      those, from where they broke off
stage     compared with their digests there, and made a release
runtime   where the bundle brings wheels: a virtual environment of its own
verify    the golden samples, through the real runtime there
activate  the switch, its health check, and the way back where that fails; decided on the device alone
service   where it is asked for: a unit of systemd that serves whatever is current
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from ..bundle import Bundle
from ..errors import BundleError, DeviceError, EdgekitError, TransportError
from ..inventory import Device
from ..sign import read_signature
from ..transports import Options, connect
from .fit import Needs, check_target, doubts, lacking, needs_of, objections
from .probe import ask, choose_python, describe, runs, unlike
from .remote import GRACE_S, WAIT_S, Refusal, Remote
from .result import FlashResult, Reporter, Silent, Step
from .send import plan_transfer, send
from .service import Service, check_service, install_service

#: A virtual environment, what goes into it, its bytecode.
RUNTIME_PARTS = 3


@dataclass(frozen=True)
class FlashOptions:
    """How to flash. `step_s` is the most that one step may take on the device; transfers only must not stall."""

    dry_run: bool = False
    again: bool = False  # all steps even where the device runs this bundle
    allow_older: bool = False
    step_s: float = 300.0
    wait_s: float = WAIT_S  # for another edgekit that is at work on the device
    line: Options = field(default_factory=Options)
    service: Service | None = None


def flash(
    bundle: Bundle, device: Device, options: FlashOptions | None = None, reporter: Reporter | None = None
) -> FlashResult:
    """Let a device run this bundle. What goes wrong with the device or the way to it is in the result.

    Raises BundleError for an archive, ConfigError for the device's own entry in the inventory.
    """
    if not bundle.path.is_dir():
        raise BundleError(f"{bundle.path}: an archive; it is flashed from its folder (open_as_folder)")
    run = _Run(bundle, device, options or FlashOptions(), reporter or Silent())
    began = time.monotonic()
    try:
        run.go()
    except EdgekitError as error:
        run.result.error, run.result.exit_code = str(error), error.exit_code
    run.result.seconds = time.monotonic() - began
    run.reporter.ended(run.result)
    return run.result


def flash_each(
    bundle: Bundle, devices: Sequence[Device], options: FlashOptions, reporter: Reporter, fail_fast: bool = False
) -> list[FlashResult]:
    """One device after the other. A failing one does not stop the others unless `fail_fast`."""
    results: list[FlashResult] = []
    for device in devices:
        results.append(flash(bundle, device, options, reporter))
        if fail_fast and not results[-1].ok:
            break
    return results


class _Run:
    """One flashing of one device."""

    def __init__(self, bundle: Bundle, device: Device, options: FlashOptions, reporter: Reporter) -> None:
        self.bundle = bundle
        self.device = device
        self.options = options
        self.reporter = reporter
        self.result = FlashResult(device.name, str(device.address))
        self.needs: Needs = needs_of(bundle)
        self.python = device.python
        self.base = device.base
        self.signature: str | None = None

    def go(self) -> None:
        """The steps in their order."""
        self._refuse(check_target(self.bundle, self.device))
        signature = read_signature(self.bundle.path)
        self.signature = signature.text if signature else None
        line = replace(self.options.line, command_s=self.options.step_s, ssh_options=self.device.ssh_options)
        with self._step("connect"):
            transport = connect(self.device.address, line)
        with transport:
            self.remote = Remote(transport, self.device, self.options.wait_s)
            try:
                self._go_over_line()
            finally:
                self.result.bytes_sent = transport.bytes_sent

    def _go_over_line(self) -> None:
        runs_it = self._probe()
        if self.options.service:
            check_service(self.remote, self.options.service)
        if runs_it and not self.options.again:
            self._install_service()
            self.result.outcome = "unchanged"
            return
        needed = self._want()
        if self.options.dry_run:
            self.result.outcome = "planned"
            return
        self._bring(needed)
        if self.needs.wheels:
            self._install_runtime()
        self._verify()
        self._activate()
        self._install_service()
        self.result.outcome = "flashed"

    def _probe(self) -> bool:
        """Whether the device runs this bundle already: whole, trusted there, with this signature, for good."""
        with self._step("probe") as note:
            probe = ask(self.remote, self.needs, self.device.python, check=True)
            current = probe["current"]
            self.result.board = probe["machine"]
            self.result.previous = current and current["digest"]
            self.reporter.probed(self.device.name, self.result.previous)
            runs_it = self.result.previous == self.bundle.digest
            why_not = unlike(probe, self.signature) if runs_it else "another"
            lost = runs_it and not self.needs.wheels and lacking(self.needs, probe)
            if (why_not or lost) and not self.device.python:
                probe, self.python = choose_python(self.remote, self.needs, probe)
            if runs_it and lost and lacking(self.needs, probe):
                why_not = "its runtime is gone"
            self.base = str(probe["base"])
            note.append(describe(probe))
        self.result.notes += doubts(self.needs, probe)
        if runs_it and why_not:
            self.result.notes.append(f"runs this bundle, but not as it is here: {why_not}")
        if why_not:
            self._refuse(objections(self.needs, probe, self.device))
        return why_not is None

    def _want(self) -> list[dict[str, Any]]:
        with self._step("want") as note:
            answer = self._patiently(
                "want",
                manifest=(self.bundle.path / "manifest.json").read_bytes().decode(),
                signature=self.signature,
                allow_older=self.options.allow_older,
                dry=self.options.dry_run,
            )
            needed: list[dict[str, Any]] = answer["needed"]
            transfer = plan_transfer(needed)
            resumed = f", {transfer.bytes_resumed / 1e6:.2f} MB are there from before" if transfer.bytes_resumed else ""
            note.append(f"{transfer.files} files, {transfer.bytes_missing / 1e6:.2f} MB are missing there{resumed}")
            if answer["signer"]:
                note.append(f"signed by {answer['signer']}")
        self.result.transfer = transfer
        return needed

    def _bring(self, needed: list[dict[str, Any]]) -> None:
        """Send and stage; once more for what did not arrive as it left."""
        self._send(needed)
        try:
            self._stage()
        except Refusal as refusal:
            if not any(refusal.answer.get(why) for why in ("damaged", "missing", "unannounced")):
                raise
            self.result.notes.append(f"sent a second time: {refusal}")
            self._send(self._want())
            self._stage()

    def _send(self, needed: list[dict[str, Any]]) -> None:
        if not needed:
            return
        transfer = self.result.transfer
        with self._step("send") as note:
            send(self.remote.transport, self.bundle, needed, transfer, self.reporter.progress)
            rate = f", {transfer.rate_mb_s:.1f} MB/s" if transfer.rate_mb_s else ""
            note.append(f"{transfer.bytes_sent / 1e6:.2f} MB over the line{rate}")

    def _stage(self) -> None:
        with self._step("stage") as note:
            answer = self._patiently("stage")
            note.append(f"{answer['files']} files are whole there")
            if answer["repaired"]:
                note.append(f"repaired: {', '.join(answer['repaired'])}")

    def _install_runtime(self) -> None:
        with self._step("runtime") as note:
            answer = self._patiently(
                "install_runtime", parts=RUNTIME_PARTS, python=self.python, timeout_s=self.options.step_s, wheels=True
            )
            self.python = answer["python"]
            note.append(f"{', '.join(answer['packages'])}: {'installed' if answer['installed'] else 'there already'}")

    def _verify(self) -> None:
        with self._step("verify") as note:
            answer = self._patiently("verify", python=self.python, timeout_s=self.options.step_s)
            report = answer["report"]
            self.result.runtime = f"{report.get('runtime')} {report.get('runtime_version')}"
            self.result.max_difference, self.result.tolerance = report.get("max_difference"), report.get("tolerance")
            note.append(
                f"{len(report.get('samples', ()))} golden samples by {self.result.runtime}: largest difference "
                f"{self.result.max_difference:.2g}, tolerance {self.result.tolerance:g}"
                if self.result.max_difference is not None and self.result.tolerance is not None
                else "the golden samples agree"
            )

    def _activate(self) -> None:
        with self._step("activate") as note:
            try:
                answer = self.remote.switch(
                    "activate", self.options.step_s, self.reporter.heard, digest=self.bundle.digest,
                    python=self.python, allow_older=self.options.allow_older,
                )  # fmt: skip
            except TransportError as error:
                raise self._after_silence(error) from None
            before = answer["previous"]
            note.append("healthy, kept" + (f"; {before[:16]} is the way back" if before else ""))
            if self.options.service is None:
                self.result.notes += answer["hints"]

    def _after_silence(self, error: TransportError) -> TransportError:
        """The same, with what the device runs now, where it can still be asked."""
        try:
            probe = ask(self.remote, self.needs, None)
        except EdgekitError:
            return TransportError(f"{error}; it decides by itself: edgekit devices show {self.device.name}")
        undecided = ", and is still deciding" if probe["pending"] else ""
        return TransportError(f"{error}; it {runs(probe)}{undecided}")

    def _install_service(self) -> None:
        service = self.options.service
        if service is None or self.options.dry_run:
            return
        with self._step("service") as note:
            answer = install_service(self.remote, service, self.base, self.options.step_s, self.reporter.heard)
            self.result.service = answer["url"]
            self.result.notes += answer["hints"]
            state = "serves at" if answer["restarted"] else "serves already at"
            note.append(f"{state} {answer['url']}, with {answer['memory_max_mb']:.0f} MB of memory at most")

    def _patiently(self, command: str, parts: int = 1, **fields: Any) -> dict[str, Any]:
        """A command that may have to wait, and to work long: the device's own limit ends it before ours."""
        return self.remote.call(
            command, limit_s=self.options.wait_s + parts * self.options.step_s + GRACE_S, hear=self.reporter.heard,
            digest=self.bundle.digest, **fields,
        )  # fmt: skip

    def _refuse(self, problems: Sequence[str]) -> None:
        if problems:
            raise DeviceError("\n".join(f"{self.device.name}: {problem}" for problem in problems))

    @contextmanager
    def _step(self, name: str) -> Iterator[list[str]]:
        """A step that is reported; what is put into the list is its note."""
        self.reporter.started(self.device.name, name)
        began, note = time.monotonic(), list[str]()
        yield note
        step = Step(name, time.monotonic() - began, "; ".join(note))
        self.result.steps.append(step)
        self.reporter.finished(self.device.name, step)
