"""install: a bundle that lies on the device already, in a folder of somebody else's, becomes what runs here.

For package managers, update agents and first boots, which bring files but do not check what they answer. It is what a
host does over the line, done here: want, its files, stage, install_runtime, verify, activate, service.
"""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from typing import Any

from . import disk
from .base import Base
from .errors import Failed, Refused, Trouble, explain
from .execute import tell
from .manifest import MAX_BYTES, NAME, SIGNATURE_NAME, read_manifest
from .protocol import InstallAnswer, Needed, Request
from .receive import stage, want
from .runtime import WHEELS, install_runtime
from .service import service
from .switch import HEALTH_S, activate
from .systemd import check_systemd
from .trust import MAX_BYTES as MAX_SIGNATURE_BYTES

_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def install(base: Base, request: Request) -> InstallAnswer:
    """Install the bundle in the folder `bundle`, which stays as it is; what runs already is checked and stays.

    Its files are linked where the folder is this user's own and on the same file system (they become read-only), else
    copied. `service` is null or the fields of the command of that name. Where only the service fails, the bundle stays.
    """
    folder = _folder(request.text("bundle"))
    serve = _service_request(request)
    content = disk.read_file(folder / NAME, MAX_BYTES)
    if content is None:
        raise Refused(f"{folder}: no bundle, it holds no {NAME}")
    manifest = read_manifest(content)
    signed = disk.read_file(folder / SIGNATURE_NAME, MAX_SIGNATURE_BYTES)
    request = request.with_fields(
        digest=manifest.digest,
        manifest=content.decode("utf-8"),
        signature=None if signed is None else signed.decode("utf-8", "replace"),
        timeout_s=request.number("health_s", HEALTH_S),
    )
    wanted = want(base, request)
    names = {file.sha256: path for path, file in manifest.files.items()}
    for needed in wanted["needed"]:
        _bring(folder / names[needed["sha256"]], needed)
    try:
        stage(base, request)
    except Failed as failure:
        bad = failure.facts.get("damaged") or failure.facts.get("missing")
        if not bad:
            raise
        raise Refused(f"{folder / bad[0]}: is not as {NAME} says; get the bundle again", **failure.facts) from None
    if any(path.startswith(WHEELS) for path in manifest.files):
        request = request.with_fields(python=install_runtime(base, request.with_fields(timeout_s=None))["python"])
    answer = activate(base, request)
    served = None if serve is None else _serve(base, serve, answer["digest"])
    return {**answer, "installed": not wanted["staged"], "service": served}


def _folder(text: str) -> Path:
    """The bundle's folder. Raises Refused where it is none."""
    folder = Path(text)
    if "\0" in text or not folder.is_absolute() or not folder.is_dir():
        raise Refused(f"request: 'bundle': found {text!r:.200}, expected the absolute path of a bundle's folder")
    return folder.resolve()


def _service_request(request: Request) -> Request | None:
    """What the service is asked for; refused before anything changes where it could not be had."""
    fields = request.fields_or_none("service")
    if fields is None:
        return None
    asked = request.with_fields(**{"python": None, "action": "install", **fields})
    if asked.text("action") != "install":
        raise Refused(f"request: 'service': action {asked.text('action')!r:.40}, expected install")
    check_systemd(asked.text_or_none("scope") or "user")
    return asked


def _bring(source: Path, needed: Needed) -> None:
    """Let a file of the bundle be in incoming. Only its size is looked at here; stage compares what it holds."""
    if disk.regular_size(source) != needed["size"]:
        raise Refused(f"{source}: is not as {NAME} says; get the bundle again")
    path = Path(needed["path"])
    disk.remove(path)
    facts = source.lstat()
    if facts.st_uid == os.geteuid() and not facts.st_mode & _WRITABLE_BY_OTHERS:  # nobody else can change it later
        try:
            os.link(source, path, follow_symlinks=False)
        except OSError:
            pass  # another file system, or one without links
        else:
            return
    shutil.copyfile(source, path)


def _serve(base: Base, request: Request, digest: str) -> dict[str, Any]:
    """Install the service. Raises Failed that says what holds nevertheless."""
    tell("installing the service")
    try:
        return service(base, request)
    except Trouble as trouble:
        why, facts = str(trouble), trouble.facts
    except OSError as error:
        why, facts = explain(error), {}
    raise Failed(f"release {digest[:16]} is current and healthy, but not served: {why}", current=digest, **facts)
