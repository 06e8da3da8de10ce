"""`python3 -m ondevice serve`: its words. All else of this room is imported when it is needed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from ..errors import OnDeviceError

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 8476
DEFAULT_LOAD_SECONDS, DEFAULT_DRAIN_SECONDS = 120.0, 30.0


def add_serve_commands(commands: Any, here: Path) -> None:
    """Add them to the command line; `here` is the bundle around this package."""
    add_serve_options(commands.add_parser("serve", help="answer over HTTP on a local port or Unix socket"), here)
    worker = commands.add_parser("serve-worker")  # without a help line it is not listed
    worker.add_argument("--control", type=int, required=True, help="a descriptor of the supervisor's")
    worker.add_argument("--bundle", type=Path, default=here)
    worker.add_argument("--threads", type=int)
    worker.add_argument("--runtime")
    worker.set_defaults(run=run_worker_process)


def add_serve_options(command: argparse.ArgumentParser, here: Path) -> None:
    """What is served, where, and to whom."""
    what = command.add_mutually_exclusive_group()
    what.add_argument("--bundle", type=Path, default=here, help="its folder; default: the one around this package")
    what.add_argument(
        "--follow", type=Path, metavar="LINK", help="a link to a bundle; where it leads elsewhere, that one takes over"
    )
    where = command.add_mutually_exclusive_group()
    where.add_argument("--port", type=_port, default=DEFAULT_PORT, help="(%(default)s); 0: any free one")
    where.add_argument("--socket", type=Path, metavar="PATH", help="a Unix socket instead, for its owner and group")
    command.add_argument("--host", default=DEFAULT_HOST, help="(%(default)s); any other than loopback needs a token")
    command.add_argument("--token-file", type=Path, help="holds the token that requests must bear")
    command.add_argument("--any-host", action="store_true", help="take requests whose Host names another machine")
    command.add_argument("--threads", type=_positive, help="default: what the bundle says")
    command.add_argument("--runtime", help="another runtime of the same format")
    command.add_argument(
        "--load-seconds", type=float, default=DEFAULT_LOAD_SECONDS, help="for a release to be ready (%(default)s)"
    )
    command.add_argument(
        "--drain-seconds", type=float, default=DEFAULT_DRAIN_SECONDS, help="for what was accepted (%(default)s)"
    )
    command.set_defaults(run=run_serve)


def _port(word: str) -> int:
    number = int(word)
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError("must be 0 to 65535")
    return number


def _positive(word: str) -> int:
    number = int(word)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def run_serve(given: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT; what happens goes to stderr, a line each."""
    from .listener import Address, listen, read_token, url
    from .supervisor import Service, Supervisor

    words = [f"--threads={given.threads}"] if given.threads else []
    words += [f"--runtime={given.runtime}"] if given.runtime else []
    service = Service(
        place=(given.follow or given.bundle).absolute(),
        follow=given.follow is not None,
        token_file=given.token_file and given.token_file.absolute(),
        any_host=given.any_host or given.socket is not None,
        words=words,
        load_seconds=given.load_seconds,
        drain_seconds=given.drain_seconds,
    )
    if service.token_file:
        read_token(service.token_file)  # a wrong one is told before anything else
    address = Address(given.host, given.port, given.socket and given.socket.absolute())
    with listen(address, has_token=service.token_file is not None) as listener:
        _say(f"listening on {url(listener)}")
        return Supervisor(service, listener, read_token, _say).run()


def run_worker_process(given: argparse.Namespace) -> int:
    """One release at work."""
    from .worker import run_worker

    return run_worker(given.control, given.bundle, given.threads, given.runtime)


def main(words: list[str] | None = None) -> int:
    """`python3 -m ondevice.service`: serve, with no more than the standard library."""
    parser = argparse.ArgumentParser(prog="python3 -m ondevice.service", description=__doc__)
    add_serve_options(parser, Path(__file__).resolve().parents[2])
    given = parser.parse_args(words)
    try:
        return int(given.run(given))
    except OnDeviceError as error:
        print(f"ondevice: {error}", file=sys.stderr)
        return 2


def _say(line: str) -> None:
    print(f"ondevice: {line}", file=sys.stderr, flush=True)
