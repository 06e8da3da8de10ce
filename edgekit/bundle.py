"""The folder that travels to the device: packed whole or not at all, and the same bytes from the same inputs.

manifest.json      what it is; every other file's size and sha256. The bundle's digest is this file's sha256
model/             the artifact
tokenizer.json     golden.json     ondevice/     requirements.txt     README.md     LICENSE
wheels/            with --with-runtime: what requirements.txt asks for, for the target's machines
manifest.json.sig  who signed it and when, if anybody did: not part of the digest
build.json         when, where and how long: not part of the digest, nor of the archive
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from . import __version__, tarball
from .artifact import MAIN_FILE, MODEL_FILES, Artifact
from .atomic import publish_folder, write_bytes
from .card import licence_note, model_card
from .errors import BundleError
from .ondevice import manifest as manifests
from .ondevice.errors import OnDeviceError
from .ondevice.runtimes import RUNTIMES, load_runtime, package_for

#: INT8 weights hardly compress, sparse ones do; beyond this level they do not do so any better.
COMPRESSION_LEVEL = 10

#: numpy's arrays can be subscripted as types from 1.22 on; numpy 1 is smaller, and what tflite-runtime was built for.
NUMPY = "numpy>=1.22,<2; python_version < '3.13'"
#: Where numpy 1 has no wheels.
NEWER_NUMPY = "numpy>=2.1; python_version >= '3.13'"


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files are what its manifest says: a folder, or an archive of one."""

    path: Path
    manifest: Mapping[str, Any]
    digest: str  # sha256 of manifest.json, hex
    archive: Path | None = None  # what the folder was unpacked from

    @property
    def named(self) -> Path:
        """The path that the user knows it by."""
        return self.archive or self.path

    @property
    def size_bytes(self) -> int:
        """What it takes on disk."""
        if self.path.is_file():
            return self.path.stat().st_size
        return sum(f.stat().st_size for f in self.path.rglob("*") if f.is_file())


def pack(
    out: Path,
    *,
    name: str,
    recipe: Mapping[str, Any],
    target: Mapping[str, Any],
    steps: Sequence[tuple[Artifact, str, Mapping[str, Any]]],
    teacher: Mapping[str, Any],
    sample_task: bool,
    wheels: Artifact | None = None,
) -> Bundle:
    """Write the bundle's folder `out`; an older bundle there is replaced.

    `steps` are (artifact, step, options) in order: the last one is validation's, the one before it holds the model.
    `teacher` says `name` and `licence`. Raises BundleError where `out` is something else than a bundle.
    """
    check_out(out)
    model, report = steps[-2][0], steps[-1][0]
    manifest = _describe(name, recipe, target, steps, teacher, sample_task)
    if wheels:
        manifest["wheels"] = {"pythons": wheels.metrics["pythons"]}
    work = out.with_name(f".{out.name}.{os.getpid()}")
    shutil.rmtree(work, ignore_errors=True)
    try:
        (work / "model").mkdir(parents=True)
        for file in MODEL_FILES:
            if (model.path / file).exists():
                shutil.copyfile(model.path / file, work / "model" / file)
        if (model.path / "tokenizer.json").exists():
            shutil.copyfile(model.path / "tokenizer.json", work / "tokenizer.json")
        shutil.copyfile(report.path / "golden.json", work / "golden.json")
        _copy_ondevice(work / "ondevice", model.format)
        if wheels:
            (work / "wheels").mkdir()
            for wheel in wheels.path.glob("*.whl"):
                shutil.copyfile(wheel, work / "wheels" / wheel.name)
        runtime = manifest["runtime"]
        lines = requirements(runtime["package"], runtime["version"], report.metrics["needs"])
        _write(work / "requirements.txt", "\n".join(lines) + "\n")
        _write(work / "README.md", model_card(manifest))
        _write(work / "LICENSE", licence_note(manifest))
        manifest["files"] = manifests.list_files(work)
        _write(work / manifests.NAME, _json(manifest))
        _write(work / "build.json", _json(_build_record(steps)))
        publish_folder(work, out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return Bundle(out, manifests.read_manifest(out), manifests.file_digest(out / manifests.NAME))


def check_out(out: Path, archived: bool = False) -> None:
    """Raise BundleError where a bundle could not be written to `out`: something else is there, or no permission.

    With `archived`, raise MissingExtra where its archive could not be made.
    """
    if archived:
        tarball.import_zstandard()
    if out.exists() and not (out / manifests.NAME).is_file():
        raise BundleError(f"{out}: exists and is not a bundle; move it away or choose another folder")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BundleError(f"{out.parent}: cannot be made: {error.strerror}; choose another folder") from None
    if not os.access(out.parent, os.W_OK):
        raise BundleError(f"{out.parent}: no permission to write there; choose another folder")


def _describe(
    name: str, recipe: Mapping[str, Any], target: Mapping[str, Any],
    steps: Sequence[tuple[Artifact, str, Mapping[str, Any]]], teacher: Mapping[str, Any], sample_task: bool,
) -> dict[str, Any]:  # fmt: skip
    """The manifest without its files. No times and no paths: the same inputs give the same digest."""
    model, (report, _, options) = steps[-2][0], steps[-1]
    return {
        "schema": manifests.SCHEMA,
        "edgekit": __version__,
        "name": name,
        "task": report.metrics["task"],
        "sample_task": sample_task,
        **report.metrics["described"],
        "format": model.format,
        "model": f"model/{MAIN_FILE[model.format]}",
        "runtime": {
            "name": options["runtime"],
            "package": package_for(load_runtime(options["runtime"]), options["device"]),
            "version": options["runtime_version"],
            "device": options["device"],
            "threads": options["threads"],
            **({"batch": batch} if (batch := options.get("batch", 1)) > 1 else {}),
        },
        "tolerance": report.metrics["tolerance"],
        "metrics": dict(report.metrics),
        "teacher": dict(teacher),
        "recipe": dict(recipe),
        "target": dict(target),
        "lineage": [
            {
                "step": step, "stage": a.stage, "key": a.key, "options": dict(chosen), "metrics": dict(a.metrics),
                "notes": list(a.notes), "versions": dict(a.versions),
            }
            for a, step, chosen in steps
        ],
    }  # fmt: skip


def _copy_ondevice(folder: Path, form: str) -> None:
    """The sources of the on-device package, with the runtimes that load this format."""
    source = Path(manifests.__file__).parent
    foreign = {name for name in RUNTIMES if form != load_runtime(name).FORMAT}
    for path in sorted(source.rglob("*.py")):
        if path.parent.name == "runtimes" and path.stem in foreign:
            continue
        copy = folder / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)


def requirements(package: str, version: str, needs: Mapping[str, str]) -> list[str]:
    """What the device installs: `pip install --no-deps -r requirements.txt`. `needs` are its task's, with versions.

    What these packages ask for beside themselves (a hub's client, type tables) serves what the device never does.
    """
    return [f"{package}=={version}", NUMPY, NEWER_NUMPY, *(f"{name}=={pin}" for name, pin in needs.items())]


def _build_record(steps: Sequence[tuple[Artifact, str, Mapping[str, Any]]]) -> dict[str, Any]:
    """When and where the bundle and its steps were made."""
    machine = platform.uname()
    return {
        "schema": 1,
        "packed": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"system": machine.system, "release": machine.release, "arch": machine.machine,
                    "cores": os.cpu_count(), "python": platform.python_version()},
        "steps": [{"stage": a.stage, "finished": a.finished, "seconds": a.seconds} for a, _, _ in steps],
    }  # fmt: skip


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def _write(path: Path, content: str) -> None:
    path.write_text(content, encoding="utf-8", newline="\n")


def open_bundle(path: Path) -> Bundle:
    """A bundle's folder or archive, every file of it compared with its digest.

    Raises BundleError, naming the file, for one that is incomplete, was changed, or has a schema unknown here.
    """
    try:
        if path.is_dir():
            manifest = manifests.read_manifest(path)
            manifests.verify_files(path, manifest)
            return Bundle(path, manifest, manifests.file_digest(path / manifests.NAME))
        if not path.is_file():
            raise BundleError(f"{path}: no such bundle; `edgekit build` makes one")
        content, found = tarball.read_archive(path)
        manifest = manifests.parse_manifest(content, f"{path}: {manifests.NAME}")
    except OnDeviceError as error:
        raise BundleError(str(error)) from None
    tarball.compare(path, manifest["files"], found)
    return Bundle(path, manifest, hashlib.sha256(content).hexdigest())


def archive(bundle: Bundle) -> Path:
    """Write a bundle's folder as one .tar.zst beside it: the same bundle gives the same bytes.

    It holds what the manifest lists, the manifest and its signature, in one folder with the bundle's name. Raises
    MissingExtra.
    """
    zstandard = tarball.import_zstandard()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        signature = [tarball.SIGNATURE_NAME] if (bundle.path / tarball.SIGNATURE_NAME).is_file() else []
        for name in sorted([*bundle.manifest["files"], manifests.NAME, *signature]):
            content = (bundle.path / name).read_bytes()
            entry = tarfile.TarInfo(f"{bundle.manifest['name']}/{name}")  # time, owner and group are 0
            entry.size, entry.mode = len(content), 0o644
            tar.addfile(entry, io.BytesIO(content))
    path = bundle.path.with_name(bundle.path.name + tarball.SUFFIX)
    write_bytes(path, zstandard.ZstdCompressor(level=COMPRESSION_LEVEL).compress(packed.getvalue()))
    return path


def unpack(path: Path, folder: Path) -> Bundle:
    """An archive's bundle as the folder `folder`, whole or not at all; an older bundle there is replaced.

    All of it is read and compared before anything is written. Raises BundleError for an archive that is not exactly
    what its manifest says, or where the disk has no room.
    """
    if not path.is_file():
        raise BundleError(f"{path}: no such archive; `edgekit build --archive` makes one")
    packed = open_bundle(path)
    check_out(folder)
    sizes = {name: int(facts["size"]) for name, facts in packed.manifest["files"].items()}
    free = shutil.disk_usage(folder.parent).free
    if sum(sizes.values()) > free:
        raise BundleError(f"{folder}: {sum(sizes.values()) / 1e6:.1f} MB are needed, {free / 1e6:.1f} MB are free")
    work = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(work, ignore_errors=True)
    try:
        work.mkdir()
        tarball.extract(path, work, sizes)
        unpacked = open_bundle(work)
        if unpacked.digest != packed.digest:
            raise BundleError(f"{path}: has changed while it was read")
        publish_folder(work, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return Bundle(folder, unpacked.manifest, unpacked.digest)


@contextmanager
def open_as_folder(path: Path) -> Iterator[Bundle]:
    """`open_bundle`, and an archive as a folder: unpacked into a temporary one, which is gone afterwards."""
    if not path.is_file():
        yield open_bundle(path)
        return
    with tempfile.TemporaryDirectory(prefix="edgekit-bundle-") as place:
        yield replace(unpack(path, Path(place) / "bundle"), archive=path)
