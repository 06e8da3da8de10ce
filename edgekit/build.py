"""Runs a plan: each step once, its result kept in the store, and the finished artifact packed into a bundle."""

from __future__ import annotations

import errno
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from .artifact import Artifact, Job, Outcome, validation_score
from .bundle import Bundle, archive, check_out, pack, requirements
from .errors import AccuracyError, EdgekitError, MissingExtra, StoreError
from .ondevice.runtimes import load_runtime, package_for
from .ondevice.tasks import device_needs
from .plan import Plan, Step
from .quiet import redirected
from .stages import load_stage, pinned
from .store import Store


class Reporter(Protocol):
    """Told what a build does; the command line draws it, tests record it."""

    def waiting(self, step: Step) -> None:
        """Another build is running this step."""

    def started(self, step: Step, position: int, total: int) -> None:
        """A step begins to run."""

    def progress(self, done: int, total: int, unit: str, note: str) -> None:
        """The running step has done so many of its units."""

    def finished(self, step: Step, position: int, total: int, artifact: Artifact, cached: bool) -> None:
        """A step is in the store; `cached` where it was there before."""


def build(
    plan: Plan, store: Store, out: Path, reporter: Reporter, log_output: bool = True, archived: bool = False,
    pythons: Sequence[str] = (),
) -> tuple[Bundle, Path | None]:  # fmt: skip
    """Run what is not in the store yet, check the retention, and pack the bundle into the folder `out`.

    Answers the bundle and, with `archived`, the .tar.zst of it that stands beside.

    With `log_output` the frameworks' chatter goes to each step's log.txt instead of the terminal. For each of
    `pythons` the bundle brings the wheels that it needs on the target; they are fetched before all else.
    Raises MissingExtra before any work, the stages' own errors, AccuracyError, and StoreError on a full disk.
    """
    missing = [s for s in plan.steps if s.missing and store.find(s.folder) is None]
    if missing:
        raise MissingExtra(missing[0].stage, " and ".join(missing[0].missing), missing[0].extra)
    check_out(out, archived)
    with ExitStack() as used:
        wheels = _fetch_wheels(plan, store, reporter, pythons, used) if pythons else None
        artifacts = _make(plan, store, reporter, log_output, used, 1 if wheels else 0)
        _check_retention(plan, artifacts)
        with _disk_full(out):
            bundle = pack(
                out,
                name=plan.name,
                recipe=plan.recipe.model_dump(mode="json", by_alias=True),
                target=plan.target.model_dump(mode="json", by_alias=True),
                steps=[
                    (artifact, step.step, step.options.model_dump(mode="json"))
                    for artifact, step in zip(artifacts, plan.steps, strict=True)
                ],
                teacher=_teacher(plan, artifacts),
                sample_task=plan.inputs.is_sample,
                wheels=wheels,
            )
            return bundle, archive(bundle) if archived else None


def _fetch_wheels(plan: Plan, store: Store, reporter: Reporter, pythons: Sequence[str], used: ExitStack) -> Artifact:
    """The wheels of the bundle's requirements: a step of its own, which hangs on no other."""
    from .wheels.fetch import Wanted, fetch_wheels, wheel_step

    target = plan.target
    needs = pinned(device_needs(plan.task))
    lines = requirements(
        package_for(load_runtime(target.runtime.name), target.runtime.device), target.runtime.version, needs
    )
    wanted = Wanted(
        requirements=tuple(lines), arch=target.arch, glibc=target.wheels.glibc, pythons=tuple(sorted(set(pythons)))
    )
    step, total = wheel_step(wanted), len(plan.steps) + 1

    def run() -> Artifact:
        reporter.started(step, 1, total)
        began = time.monotonic()
        metrics = fetch_wheels(wanted, store.open_work(step.folder) / "work", reporter.progress)
        return _publish(store, step, metrics, (), ("pip",), began)

    artifact, cached = _find_or_run(store, step, reporter, run)
    used.enter_context(store.lock(step.folder, shared=True))
    reporter.finished(step, 1, total, artifact, cached)
    return artifact


def _make(
    plan: Plan, store: Store, reporter: Reporter, log_output: bool, used: ExitStack, before: int
) -> list[Artifact]:
    """The artifact of every step, made where it is missing. `used` keeps them from being removed meanwhile.

    `before` is how many steps were reported already.
    """
    done: dict[str, Artifact] = {}
    artifacts: list[Artifact] = []
    total = before + len(plan.steps)
    for position, step in enumerate(plan.steps, start=before + 1):

        def run(step: Step = step, position: int = position) -> Artifact:
            reporter.started(step, position, total)
            return _run(plan, step, store, artifacts[-1] if artifacts else None, done, reporter, log_output)

        artifact, cached = _find_or_run(store, step, reporter, run)
        used.enter_context(store.lock(step.folder, shared=True))
        reporter.finished(step, position, total, artifact, cached)
        artifacts.append(artifact)
        done[step.step] = artifact
    return artifacts


def _find_or_run(store: Store, step: Step, reporter: Reporter, run: Callable[[], Artifact]) -> tuple[Artifact, bool]:
    """A step's artifact and whether it was there; where another build is making it, that one is waited for."""
    artifact = store.find(step.folder)
    while artifact is None:
        with _disk_full(store.root), store.lock(step.folder, wait=False) as free:
            if free:
                artifact = store.find(step.folder)  # made since the first look?
                return (artifact, True) if artifact else (run(), False)
        reporter.waiting(step)
        with store.lock(step.folder, shared=True):
            artifact = store.find(step.folder)  # None where the other build failed: then it is our turn
    return artifact, True


def _run(
    plan: Plan, step: Step, store: Store, source: Artifact | None, done: dict[str, Artifact], reporter: Reporter,
    log_output: bool,
) -> Artifact:  # fmt: skip
    """One step, from an empty work folder to a finished one in the store."""
    folder = store.open_work(step.folder)
    job = Job(
        work=folder / "work",
        checkpoints=folder / "checkpoints",
        inputs=plan.inputs.paths(),
        earlier=dict(done),
        progress=reporter.progress,
        seed=plan.recipe.seed,
    )
    began = time.monotonic()
    module = load_stage(step.stage)
    if log_output:
        with redirected(folder / "log.txt"):
            outcome: Outcome = module.run(source, step.options, job)
    else:
        outcome = module.run(source, step.options, job)
    return _publish(store, step, outcome.metrics, outcome.notes, module.USES, began)


def _publish(
    store: Store, step: Step, metrics: Mapping[str, Any], notes: Sequence[str], uses: tuple[str, ...], began: float
) -> Artifact:
    """A step's filled work folder as a finished one, with the record of it."""
    return store.publish(
        step.folder,
        {
            "stage": step.stage,
            "key": step.key,
            "format": step.produces,
            "metrics": dict(metrics),
            "notes": list(notes),
            "versions": _versions(uses),
            "seconds": round(time.monotonic() - began, 2),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    )


def _versions(distributions: tuple[str, ...]) -> dict[str, str]:
    from importlib.metadata import version

    return {"python": platform.python_version(), **{d: version(d) for d in distributions}}


@contextmanager
def _disk_full(folder: Path) -> Iterator[None]:
    """A full disk as one clear line. Frameworks wrap the system's error in their own, so its text counts too."""
    try:
        yield
    except EdgekitError:
        raise
    except Exception as error:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        if full or "No space left on device" in str(error) or "os error 28" in str(error):
            raise StoreError(
                f"{folder}: the disk is full; free some space (`edgekit store gc`) and run the same command again: "
                "finished steps are kept"
            ) from error
        raise


def _teacher(plan: Plan, artifacts: list[Artifact]) -> dict[str, Any]:
    """What the bundle says of the teacher, and of the data and the student if the user gave one."""
    model = plan.inputs.teacher
    artifact = artifacts[[step.step for step in plan.steps].index("teacher")]
    more = [
        {"name": other.name, "digest": other.digest, "licence": licence}
        for other, licence in zip(plan.inputs.more_teachers, artifact.metrics.get("licences", [])[1:], strict=True)
    ]
    unlabelled = plan.inputs.unlabelled
    return {
        **({"more": more} if more else {}),
        **({"unlabelled": unlabelled.name, "unlabelled_digest": unlabelled.digest} if unlabelled else {}),
        "name": model.name if model else "sample teacher, trained on the spot",
        "digest": model.digest if model else None,
        "licence": artifact.metrics.get("licence"),
        "data": plan.inputs.data.name,
        "data_digest": plan.inputs.data.digest,
        "student": plan.inputs.student.name if plan.inputs.student else None,
        "student_digest": plan.inputs.student.digest if plan.inputs.student else None,
    }


def _check_retention(plan: Plan, artifacts: list[Artifact]) -> None:
    """Refuse an artifact that keeps too little, and say where it was lost.

    The split that decides is the test split, or the validation split where there is no other.
    """
    report = artifacts[-1].metrics
    split = "test" if "test" in report["splits"] else "validation"
    retention = report["splits"][split]["retention"]
    if retention is None:
        raise AccuracyError(
            f"the teacher's {report['metric']} on the {split} split is no more than 0, so retention is unknown"
        )
    if retention >= plan.recipe.min_retention:
        return
    losses = []
    before: float | None = None
    for step, artifact in zip(plan.steps, artifacts, strict=True):
        found = validation_score(artifact.metrics, report["metric"])
        accuracy = found[1] if found else None
        if step.stage == "validate":
            accuracy = report["splits"]["validation"][report["metric"]]
        if accuracy is None:
            continue
        change = "" if before is None else f" ({100 * (accuracy - before):+.2f} points)"
        losses.append(f"{'as converted' if step.stage == 'validate' else step.stage} {accuracy:.4f}{change}")
        before = accuracy
    raise AccuracyError(
        f"recipe {plan.recipe.name}: retention {retention:.4f} on the {split} split is below min_retention "
        f"{plan.recipe.min_retention}; validation {report['metric']} by stage: {', '.join(losses)}; "
        f"the artifact is kept for inspection in {artifacts[-2].path}"
    )
