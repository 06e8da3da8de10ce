#!/usr/bin/env python
"""One teacher made small by others, Optimum Intel's INT8 and ONNX Runtime's dynamic INT8, beside edgekit's bundles.

    .venv/bin/python scripts/bench_peers.py BUNDLE… [--teacher DIR] [--data DIR] [--venv DIR]

The peers are installed into a virtual environment of their own. Every model answers in a process of its own, all of
them on one core with one thread, block by block of the validation texts in turn: natural lengths, batch 1,
tokenisation included. Retention: accuracy over validation and test texts ÷ that of the teacher in PyTorch float32.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
#: As their documentation says to install them; torch exports the teacher for ONNX Runtime.
PEERS = ("optimum-intel[openvino]", "onnxruntime", "onnx", "onnxscript", "torch", "datasets")
TEXTS, BLOCK, ROUNDS = 400, 50, 3
CALIBRATION = 300

Logits = Callable[[str], Any]


def main() -> None:
    data = Path(os.environ.get("EDGEKIT_DATA", ROOT.parent / "shared" / "data"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="*", type=Path, metavar="BUNDLE")
    parser.add_argument("--teacher", type=Path, default=data / "models" / "minilm-sst2")
    parser.add_argument("--data", type=Path, default=data / "text" / "sst2")
    parser.add_argument("--venv", type=Path, default=ROOT / "build" / "peers")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        serve(given)
        return
    install(given.venv)
    peer = given.venv / "bin" / "python"
    workers = {name: Worker(peer, name, given) for name in WORKERS if name != "edgekit"}
    workers |= {bundle.name: Worker(Path(sys.executable), "edgekit", given, bundle) for bundle in given.bundles}
    held_out = [*rows(given.data / "dev.tsv", True), *rows(given.data / "test.tsv", False)]
    times = take_turns(workers, [text for text, _ in held_out[:TEXTS]])
    right = {name: worker.right(held_out) for name, worker in workers.items()}
    report(workers, times, right, len(held_out))


def rows(path: Path, header: bool) -> Iterator[tuple[str, int]]:
    """Texts and labels of one of SST-2's files."""
    with path.open(encoding="utf-8", newline="") as lines:
        for number, row in enumerate(csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)):
            if number or not header:
                label, text = (row[0], row[1]) if row[0] in ("0", "1") else (row[1], row[0])
                yield text, int(label)


def install(venv: Path) -> None:
    """The peers, once."""
    done = venv / "installed"
    if done.exists():
        return
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    pip = [venv / "bin" / "python", "-m", "pip"]
    subprocess.run([*pip, "install", "--quiet", *PEERS], check=True)
    # Nothing here reads images, and its operators do not fit every build of torch, at which transformers stumbles.
    subprocess.run([*pip, "uninstall", "--quiet", "--yes", "torchvision"], check=True)
    done.touch()


class Worker:
    """One model in a process of its own: a line of JSON in, a line out."""

    def __init__(self, python: Path, name: str, given: argparse.Namespace, *bundle: Path) -> None:
        words = [python, __file__, *bundle, "--worker", name, "--teacher", given.teacher, "--data", given.data]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        self.process = subprocess.Popen(
            list(map(str, words)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.facts = self._hear()

    def ask(self, texts: list[str]) -> dict[str, Any]:
        """Milliseconds and labels of texts."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(texts) + "\n")
        self.process.stdin.flush()
        return self._hear()

    def right(self, held_out: list[tuple[str, int]]) -> int:
        """How many labels are as they should be."""
        labels = self.ask([text for text, _ in held_out])["labels"]
        return sum(found == label for found, (_, label) in zip(labels, held_out, strict=True))

    def _hear(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):  # else a library's own words
                answer: dict[str, Any] = json.loads(line)
                return answer
        sys.exit(f"bench_peers: {self.process.args} ended with code {self.process.wait()}")


def take_turns(workers: dict[str, Worker], texts: list[str]) -> dict[str, list[float]]:
    """Milliseconds per text, block by block in turn; the first block of each is warm-up, not counted."""
    times: dict[str, list[float]] = {name: [] for name in workers}
    for turn in range(ROUNDS + 1):
        for start in range(0, len(texts) if turn else BLOCK, BLOCK):
            for name, worker in workers.items():
                found = worker.ask(texts[start : start + BLOCK])["ms"]
                times[name] += found if turn else []
    return times


def serve(given: argparse.Namespace) -> None:
    """Answer until standard input ends, on one core."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    answer, facts = WORKERS[given.worker](given)
    print(json.dumps(facts), flush=True)
    for line in sys.stdin:
        ms, labels = [], []
        for text in json.loads(line):
            began = time.perf_counter_ns()
            logits = answer(text)
            ms.append((time.perf_counter_ns() - began) / 1e6)
            labels.append(int(logits.argmax()))
        print(json.dumps({"ms": ms, "labels": labels}), flush=True)


def open_edgekit(given: argparse.Namespace) -> tuple[Logits, dict[str, Any]]:
    """A bundle through the runner that ships in it."""
    from edgekit.ondevice.infer import Predictor

    bundle = given.bundles[0]
    shipped = Predictor(bundle, threads=1)
    model = bundle / "model"
    return lambda text: shipped.outputs(text)[0], facts_of(shipped.runtime_version, model)


def open_torch(given: argparse.Namespace) -> tuple[Logits, dict[str, Any]]:
    """The teacher as it is."""
    import torch
    from transformers import AutoModelForSequenceClassification

    torch.set_num_threads(1)
    model = AutoModelForSequenceClassification.from_pretrained(given.teacher, dtype=torch.float32).eval()
    tokenize = tokenizer(given, "pt")

    def answer(text: str) -> Any:
        with torch.inference_mode():
            return model(**tokenize(text)).logits[0]

    return answer, {**facts_of(torch.__version__, None), "bytes": (given.teacher / "model.safetensors").stat().st_size}


def open_optimum_intel(given: argparse.Namespace) -> tuple[Logits, dict[str, Any]]:
    """INT8 weights and activations: `OVQuantizer` over calibration texts of the training split."""
    from importlib.metadata import version

    from optimum.intel import OVConfig, OVModelForSequenceClassification, OVQuantizationConfig, OVQuantizer

    folder = exported(given, "optimum-intel-int8")
    tokenize = tokenizer(given, "np")
    if not (folder / "openvino_model.xml").exists():
        import datasets

        model = OVModelForSequenceClassification.from_pretrained(given.teacher, export=True, compile=False)
        texts = [text for text, _ in rows(given.data / "train_full.tsv", True)][: CALIBRATION * 50 : 50]
        calibration = datasets.Dataset.from_list([{k: v[0] for k, v in tokenize(text).items()} for text in texts])
        OVQuantizer.from_pretrained(model).quantize(
            calibration_dataset=calibration, save_directory=folder,
            ov_config=OVConfig(quantization_config=OVQuantizationConfig(num_samples=len(texts))),
        )  # fmt: skip
    settings = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
    model = OVModelForSequenceClassification.from_pretrained(folder, ov_config=settings)
    facts = facts_of(f"optimum-intel {version('optimum-intel')}, openvino {version('openvino')}", folder)
    return lambda text: model(**tokenize(text)).logits[0], facts


def open_onnxruntime(given: argparse.Namespace) -> tuple[Logits, dict[str, Any]]:
    """INT8 weights, activations as they come: `quantize_dynamic` of the teacher as ONNX."""
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    folder = exported(given, "onnxruntime-int8")
    path = folder / "model.onnx"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        import onnx

        plain = folder / "float.onnx"
        export_onnx(given, plain)
        model = onnx.load(plain)
        del model.graph.value_info[:]  # the exporter's shapes, with which quantize_dynamic's own disagree
        onnx.save(model, plain)
        quantize_dynamic(plain, path, weight_type=QuantType.QInt8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = {port.name for port in session.get_inputs()}
    tokenize = tokenizer(given, "np")

    def answer(text: str) -> Any:
        return session.run(None, {k: v for k, v in tokenize(text).items() if k in names})[0][0]

    return answer, facts_of(f"onnxruntime {onnxruntime.__version__}", folder)


def export_onnx(given: argparse.Namespace, path: Path) -> None:
    """The teacher as ONNX with open lengths."""
    import torch
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(given.teacher, dtype=torch.float32).eval()
    feeds = dict(tokenizer(given, "pt")(["a text to export with", "and one that is longer than it"]))
    open_axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens", max=512)}
    torch.onnx.export(
        model, kwargs=feeds, f=path, input_names=list(feeds), output_names=["logits"], dynamo=True, external_data=False,
        dynamic_shapes=dict.fromkeys(feeds, open_axes),
    )  # fmt: skip


WORKERS: dict[str, Callable[[argparse.Namespace], tuple[Logits, dict[str, Any]]]] = {
    "teacher, PyTorch fp32": open_torch,
    "Optimum Intel INT8": open_optimum_intel,
    "ONNX Runtime dynamic INT8": open_onnxruntime,
    "edgekit": open_edgekit,
}


def tokenizer(given: argparse.Namespace, tensors: str) -> Callable[[str], Any]:
    """transformers' own, as the peers' users call it."""
    from transformers import AutoTokenizer

    found = AutoTokenizer.from_pretrained(given.teacher)
    return lambda text: found(text, truncation=True, max_length=128, padding=True, return_tensors=tensors)


def exported(given: argparse.Namespace, name: str) -> Path:
    """Where a peer's model is kept beside its libraries."""
    return Path(sys.prefix) / "models" / f"{given.teacher.name}-{name}"


def facts_of(version: str | None, folder: Path | None) -> dict[str, Any]:
    """What made a model, and how large it is."""
    names = ("model.tflite", "model.xml", "model.bin", "model.onnx", "openvino_model.xml", "openvino_model.bin")
    return {
        "by": version,
        "bytes": sum((folder / n).stat().st_size for n in names if (folder / n).exists()) if folder else None,
    }


def report(workers: dict[str, Worker], times: dict[str, list[float]], right: dict[str, int], count: int) -> None:
    """The table for people, then one line of JSON."""
    from statistics import median

    first = next(iter(workers))
    peers = [name for name in WORKERS if name not in (first, "edgekit")]
    fastest = min(peers, key=lambda name: median(times[name]))
    result = []
    for name, worker in workers.items():
        p50 = median(times[name])
        result.append({
            "model": name, "by": worker.facts["by"], "p50_ms": round(p50, 3),
            "retention": round(right[name] / right[first], 4), "accuracy": round(right[name] / count, 4),
            "model_bytes": worker.facts["bytes"],
            "times_faster_than_the_teacher": round(median(times[first]) / p50, 2),
            "times_faster_than_the_fastest_peer": round(median(times[fastest]) / p50, 2),
        })  # fmt: skip
        print(f"{name:40} {p50:8.3f} ms  retention {result[-1]['retention']:.4f}  "
              f"{result[-1]['times_faster_than_the_fastest_peer']:6.2f} x the fastest peer")  # fmt: skip
    print(json.dumps({
        "bench": "peers", "machine": platform.machine(), "threads": 1, "texts": TEXTS, "rounds": ROUNDS,
        "held_out": count, "fastest_peer": fastest, "models": result,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
