#!/usr/bin/env python
"""What edgekit's training loop costs over a bare one, and a whole build over its trainings.

    .venv/bin/python scripts/bench_training.py [BUNDLE] [--teacher DIR] [--data DIR] [--rounds 1]

Both loops train the same student on the same batches in the same precision, in turn. The bare one is PyTorch alone:
forward, loss, backward, optimizer. Edgekit's also looks at the validation split as often for each step as a build of
the whole SST-2 does, keeps the best weights and writes checkpoints. With the folder of a bundle its build.json says
which share of the build's seconds were no training: then the whole build ÷ its bare training follows.
The teacher's answers count as training: a bare distillation needs them too.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from bench_peers import rows

from edgekit.artifact import Job
from edgekit.stages import distill_torch
from edgekit.stages.learning.loop import CLIP_NORM, train, uses_bfloat16
from edgekit.stages.learning.losses import distillation_loss
from edgekit.stages.network.encoder import Encoder, load_encoder, predict
from edgekit.stages.network.shrink import keep_layers
from edgekit.stages.text.splits import TokenSplit
from edgekit.stages.text.tokens import encode, load_tokenizer, pad, training_batches

ROOT = Path(__file__).parents[1]
#: A quarter of the batches of SST-2: between two looks at the validation split.
STEPS, BATCH = 263, 64
LAYERS = (0, 2, 3, 5)
TRAINED = ("teacher_hf", "distill_torch", "prune_torch")


def main() -> None:
    data = Path(os.environ.get("EDGEKIT_DATA", ROOT.parent / "shared" / "data"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", nargs="?", type=Path)
    parser.add_argument("--teacher", type=Path, default=data / "models" / "minilm-sst2")
    parser.add_argument("--data", type=Path, default=data / "text" / "sst2")
    parser.add_argument("--rounds", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(1)
    teacher = load_encoder(given.teacher)
    tokenizer = load_tokenizer(given.teacher / "tokenizer.json", 128)
    training, validation = (
        split(list(rows(given.data / name, True))[:count], tokenizer, teacher)
        for name, count in (("train_full.tsv", STEPS * BATCH), ("dev.tsv", None))
    )
    student = keep_layers(teacher, LAYERS)
    seconds = {"edgekit": 0.0, "bare": 0.0}
    for number in range(given.rounds):
        for name in ("edgekit", "bare")[:: 1 if number % 2 == 0 else -1]:
            seconds[name] += measure(name, copy.deepcopy(student), training, validation)
            print(f"round {number + 1}: {name}: {seconds[name]:.1f} s so far", flush=True)
    ratio = seconds["edgekit"] / seconds["bare"]
    result: dict[str, Any] = {
        "bench": "training", "steps": STEPS * given.rounds, "batch": BATCH, "threads": 1,
        "seconds": {name: round(value, 2) for name, value in seconds.items()}, "loop_over_bare": round(ratio, 4),
    }  # fmt: skip
    if given.bundle:
        steps = json.loads((given.bundle / "build.json").read_text())["steps"]
        whole, trained = (sum(s["seconds"] for s in steps if s["stage"] in names) for names in (
            {s["stage"] for s in steps}, TRAINED))  # fmt: skip
        result["build"] = {
            "bundle": given.bundle.name, "seconds": round(whole, 1), "training_seconds": round(trained, 1),
            "build_over_bare": round(ratio * whole / trained, 4),
        }  # fmt: skip
    print(json.dumps(result))


def split(texts: list[tuple[str, int]], tokenizer: Any, teacher: Encoder) -> TokenSplit:
    """Texts as a stage is given them, with the teacher's answers."""
    token_ids = encode(tokenizer, [text for text, _ in texts])
    with torch.autocast("cpu", torch.bfloat16, enabled=uses_bfloat16("auto")):
        answers = predict(teacher, token_ids, pad_id=teacher.shape.pad_id)
    return TokenSplit(token_ids, np.array([label for _, label in texts]), answers)


def measure(name: str, student: Encoder, training: TokenSplit, validation: TokenSplit) -> float:
    """Seconds of one pass over the training texts."""
    options = distill_torch.Options(
        epochs=1, batch_size=BATCH, train_embeddings=True, evaluations=1, patience=10, max_tokens=128
    )
    began = time.perf_counter()
    if name == "edgekit":
        with tempfile.TemporaryDirectory() as place:
            job = Job(Path(place), Path(place), {}, {}, lambda done, total, unit, note: None)
            train(student, training, validation, options, job, student.shape.pad_id)
    else:
        bare(student, training, options)
    return time.perf_counter() - began


def bare(student: Encoder, training: TokenSplit, options: distill_torch.Options) -> None:
    """The same steps in the shortest loop."""
    assert training.teacher_logits is not None
    optimizer = torch.optim.AdamW(student.parameters(), lr=options.learning_rate, fused=True)
    student.train()
    for batch in training_batches([len(ids) for ids in training.token_ids], BATCH, (0, 0)):
        ids, mask = (torch.from_numpy(x) for x in pad([training.token_ids[row] for row in batch], student.shape.pad_id))
        with torch.autocast("cpu", torch.bfloat16, enabled=uses_bfloat16(options.precision)):
            logits = student(ids, mask)
        loss = distillation_loss(
            logits.float(), torch.from_numpy(training.teacher_logits[batch]), torch.from_numpy(training.labels[batch]),
            options.temperature, options.alpha, 1.0,
        )  # fmt: skip
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), CLIP_NORM)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


if __name__ == "__main__":
    main()
