"""run: a command of the current release's own, with its output passed on."""

from __future__ import annotations

from .base import Base
from .errors import Refused
from .execute import own_python, stream
from .protocol import Request, RunAnswer
from .release import check_release


def run(base: Base, request: Request) -> RunAnswer:
    """`python -m ondevice WORDS` of what is current; an exit code that is not 0 is still an answer."""
    digest = base.target(base.current)
    if digest is None:
        raise Refused("no release is current on this device; flash one")
    check_release(base, digest)
    python = base.interpreter(digest, request.text_or_none("python"), own_python())
    words = [python, "-B", "-m", "ondevice", *request.texts("words")]
    code = stream(words, base.folder(digest), request.text_or_none("input"), request.number_or_none("timeout_s"))
    return {"digest": digest, "code": code}
