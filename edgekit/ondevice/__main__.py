"""`python3 -m ondevice`: answers samples with the bundle around it, checks that bundle, measures or serves it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from .errors import OnDeviceError
from .infer import Predictor
from .profiler.command import add_profile_commands, positive
from .profiler.regions import add_count_command
from .service.command import add_serve_commands
from .verify import verify


def main(words: Sequence[str] | None = None) -> int:
    """Parse, run, print. 0: fine; 1: the bundle does not answer as it did on the host; 2: it cannot run here."""
    given = parser().parse_args(words)
    try:
        return int(given.run(given))
    except OnDeviceError as error:
        print(f"ondevice: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        sys.stderr.close()  # the reader has gone; nothing is wrong with the bundle
        return 0
    except KeyboardInterrupt:
        return 130


def parser() -> argparse.ArgumentParser:
    """The command line."""
    shared = argparse.ArgumentParser(add_help=False)
    here = Path(__file__).resolve().parents[1]
    shared.add_argument("--bundle", type=Path, default=here, help="its folder; default: the one around this package")
    shared.add_argument("--threads", type=positive, help="default: what the bundle says")
    shared.add_argument("--runtime", help="another runtime of the same format")
    shared.add_argument("--device", help="CPU, GPU, NPU, CUDA or TENSORRT instead of what the bundle was made for")
    shared.add_argument("--json", action="store_true", help="print one JSON document")
    top = argparse.ArgumentParser(prog="python3 -m ondevice", description=__doc__)
    commands = top.add_subparsers(required=True, metavar="infer | verify | profile | count | serve")
    infer = commands.add_parser(
        "infer", parents=[shared], help="answer texts or other samples: arguments, a file, or standard input"
    )
    infer.add_argument("texts", nargs="*", metavar="TEXT", help="none and no --file: standard input, a text a line")
    infer.add_argument("--file", type=Path, help="a text a line")
    infer.set_defaults(run=run_infer)
    check = commands.add_parser("verify", parents=[shared], help="check the files and the golden samples")
    check.set_defaults(run=run_verify)
    add_profile_commands(commands, here)
    add_count_command(commands, here)
    add_serve_commands(commands, here)
    return top


def run_infer(given: argparse.Namespace) -> int:
    """One line per text as it is answered, or all of them as one JSON document."""
    predictor = Predictor(given.bundle, given.threads, given.runtime, device=given.device)
    if predictor.substitute:
        print(f"ondevice: {predictor.substitute}", file=sys.stderr)
    answers = []
    for word in read_words(given):  # a name may be of any bytes, a text may not
        text = word.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        answer = predictor.answer(predictor.task.parse_word(text if predictor.part == "tokenise" else word))
        if given.json:
            answers.append({"input": text, **answer, "shown": predictor.task.show(answer)})
        else:
            print(predictor.task.show(answer), flush=True)
    if given.json:
        document = {"computed_on": predictor.device, "truncated": predictor.truncated, "answers": answers}
        print(json.dumps(document, ensure_ascii=False))
    elif predictor.truncated:
        print(f"ondevice: {predictor.truncated} of the samples were too long and lost their end", file=sys.stderr)
    return 0


def read_words(given: argparse.Namespace) -> Iterator[str]:
    """The texts, or names of files, as they come, without line ends; empty lines are texts too."""
    if given.texts:
        yield from given.texts
        return
    try:
        stream = given.file.open("rb") if given.file else sys.stdin.buffer
    except OSError as error:
        raise OnDeviceError(f"{given.file}: cannot be read: {error.strerror}") from None
    with stream:
        for line in stream:
            yield line.decode("utf-8", "surrogateescape").rstrip("\r\n")


def run_verify(given: argparse.Namespace) -> int:
    """What differed, or one line that all is well."""
    report = verify(given.bundle, given.threads, given.runtime, given.device)
    if given.json:
        print(json.dumps(report, ensure_ascii=False))
        return 0 if report["ok"] else 1
    bad = [s for s in report["samples"] if not s["ok"]]
    for sample in bad:
        print(
            f"differs by {sample['max_difference']} (tolerance {report['tolerance']}): {sample['decision']}, "
            f"expected {sample['expected']}: {sample['input'][:60]!r}"
        )
    place = "" if report["device"] == report["made_for"] == "CPU" else f" on {report['device']}"
    place += f", made for {report['made_for']}" if report["device"] != report["made_for"] else ""
    what = f"{report['runtime']} {report['runtime_version']}{place}: {report['files']} files are whole; "
    if bad:
        print(f"{what}{len(bad)} of {len(report['samples'])} golden samples differ")
        return 1
    print(f"{what}{len(report['samples'])} golden samples agree (largest difference {report['max_difference']:.2g})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
