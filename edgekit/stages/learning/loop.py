"""The one training loop: teachers, students, and recovery after pruning; resumable, and the same bytes each time."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...artifact import Job
from ...atomic import write_bytes
from ...errors import StageError
from ...steps import Training, WeightedDistillation
from ..network.encoder import predict
from ..text.splits import Split
from ..text.tokens import pad, training_batches
from ..text.windows import WindowSplit
from .precision import uses_bfloat16
from .schedule import CHECKPOINT_SECONDS, CLIP_NORM, Progress, learning_rate
from .text_losses import by_text_loss
from .token_losses import by_token_loss


@dataclass(frozen=True)
class TrainResult:
    """How a training went. Scores and losses are those of the validation split, as seen during training.

    A score is the task's headline: the accuracy of labels, the F1 of spans.
    """

    steps: int
    planned_steps: int
    best_step: int
    start_score: float
    best_score: float
    best_loss: float
    stopped_early: bool


def train(
    model: nn.Module,
    training: Split,
    validation: Split,
    options: Training,
    job: Job,
    pad_id: int,
    after_step: Callable[[int], None] | None = None,
    objective: nn.Module | None = None,
) -> TrainResult:
    """Train `model` in place and leave it at the step that was best on the validation split (score, then loss).

    `model(ids, mask)` answers logits [batch, labels], or by token [batch, tokens, labels]. The loss is distillation's
    where the training texts have teacher logits and the options say how, else that of the labels (`text_losses`,
    `token_losses`). AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101), linear warm-up, then linear decay to 0.
    `after_step(step)` runs after each optimizer step: masks, for instance. An `objective` stands in for that loss:
    `objective(model, ids, mask, rows)` answers the loss of a batch of training rows, and its own parameters train
    along; the validation split is judged by the first loss all the same.
    Goes on from the checkpoint in `job.checkpoints`. Raises StageError where the loss is no longer a finite number.
    """
    return _Loop(model, training, validation, options, job, pad_id, after_step, objective).run()


class _Loop:
    """What stays the same during one training."""

    def __init__(
        self, model: nn.Module, training: Split, validation: Split, options: Training, job: Job, pad_id: int,
        after_step: Callable[[int], None] | None, objective: nn.Module | None,
    ) -> None:  # fmt: skip
        self.model, self.training, self.validation, self.options, self.job = model, training, validation, options, job
        self.pad_id, self.after_step, self.objective = pad_id, after_step, objective
        self.per_epoch = math.ceil(len(training.token_ids) / options.batch_size)
        self.total = max(1, round(options.epochs * self.per_epoch))
        self.between = max(1, self.per_epoch // options.evaluations)
        self.bfloat16 = uses_bfloat16(options.precision)
        for name, parameter in model.named_parameters():
            if not options.train_embeddings and name.endswith(("word.weight", "word_embeddings.weight")):
                parameter.requires_grad_(False)
        named = [*model.named_parameters(), *(objective.named_parameters("objective") if objective else ())]
        self.parameters = {name: p for name, p in named if p.requires_grad}
        decayed = [p for p in self.parameters.values() if p.ndim > 1]
        plain = [p for p in self.parameters.values() if p.ndim <= 1]  # biases and norms
        self.optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": options.weight_decay}, {"params": plain, "weight_decay": 0.0}],
            lr=options.learning_rate,
            fused=True,
        )
        self.checkpoint = job.checkpoints / "training.safetensors"
        self.best: dict[str, Tensor] = {}

    def run(self) -> TrainResult:
        at = self._resume()
        if at.start_score is None:
            at.start_score = self._evaluate(at)
        saved = time.monotonic()
        loss = math.nan
        for rows in self._batches(at.step):
            if at.without_gain >= self.options.patience:
                break
            loss = self._step(at.step, rows)
            at.step += 1
            note = f"loss {loss:.3f}, {self.validation.metric} {at.best_score:.4f}"
            self.job.progress(at.step, self.total, "steps", note)
            evaluated = at.step % self.between == 0 or at.step == self.total
            if evaluated:
                self._evaluate(at)
            if evaluated or time.monotonic() - saved > CHECKPOINT_SECONDS:
                self._save(at)
                saved = time.monotonic()
        with torch.no_grad():
            for name, best in self.best.items():
                self.parameters[name].copy_(best)
        self.model.eval()
        return TrainResult(
            steps=at.step,
            planned_steps=self.total,
            best_step=at.best_step,
            start_score=at.start_score,
            best_score=at.best_score,
            best_loss=at.best_loss,
            stopped_early=at.step < self.total,
        )

    def _batches(self, start: int) -> Iterator[np.ndarray[Any, Any]]:
        """The training batches from step `start` to the last; each epoch's order follows from seed and epoch alone."""
        lengths = [len(ids) for ids in self.training.token_ids]
        for epoch in range(start // self.per_epoch, math.ceil(self.total / self.per_epoch)):
            batches = training_batches(lengths, self.options.batch_size, (self.job.seed, epoch))
            first = epoch * self.per_epoch
            yield from batches[max(0, start - first) : self.total - first]

    def _step(self, step: int, rows: np.ndarray[Any, Any]) -> float:
        """One optimizer step; answers the loss. The seed of its dropout is its own, so a resumed run is the same."""
        torch.manual_seed(self.job.seed * 1_000_003 + step)
        self.model.train()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(step, self.total, self.options)
        ids, mask = (torch.from_numpy(x) for x in pad([self.training.token_ids[row] for row in rows], self.pad_id))
        if self.objective:
            loss = self.objective(self.model, ids, mask, rows)
        else:
            with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
                logits = self.model(ids, mask)
            loss = self._loss(logits.float(), self.training, rows)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise StageError(f"training: the loss is {value} at step {step + 1}; a smaller learning_rate may help")
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters.values(), CLIP_NORM)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.after_step:
            self.after_step(step)
        return value

    def _loss(self, logits: Tensor, split: Split, rows: np.ndarray[Any, Any]) -> Tensor:
        weight = self.options.losses.response if isinstance(self.options, WeightedDistillation) else 1.0
        if isinstance(split, WindowSplit):
            return by_token_loss(logits, split, rows, self.options, weight or 1.0)
        return by_text_loss(logits, split, rows, self.options, weight or 1.0)

    def _evaluate(self, at: Progress) -> float:
        """The score on the validation split; keeps the parameters if it was never better."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            logits = predict(self.model, self.validation.token_ids, pad_id=self.pad_id)
        score = self.validation.score(logits)[self.validation.metric]
        rows = np.arange(len(self.validation.token_ids))
        by_row = self.validation.padded(logits) if isinstance(self.validation, WindowSplit) else logits
        loss = float(self._loss(torch.from_numpy(by_row), self.validation, rows))
        if at.is_best(score, loss, self.options.best_by):
            self.best = {name: p.detach().clone() for name, p in self.parameters.items()}
        return score

    def _save(self, at: Progress) -> None:
        """Write the checkpoint: one safetensors file with parameters, optimizer, best parameters and progress."""
        from safetensors.torch import save

        tensors: dict[str, Tensor] = {}
        for name, parameter in self.parameters.items():
            tensors[f"model.{name}"] = parameter.detach().contiguous()
            tensors[f"best.{name}"] = self.best[name].contiguous()
            for key, value in self.optimizer.state[parameter].items():
                tensors[f"{key}.{name}"] = value
        write_bytes(self.checkpoint, save(tensors, metadata={"progress": json.dumps(asdict(at))}))

    def _resume(self) -> Progress:
        """Take up the checkpoint, if there is one. A damaged one is left aside: it was only a short cut."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.checkpoint, framework="pt") as file:
                at = Progress(**json.loads(file.metadata()["progress"]))
                tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        except (FileNotFoundError, SafetensorError):
            return Progress()
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(tensors[f"model.{name}"])
                self.best[name] = tensors[f"best.{name}"]
                kept = {key: tensors.get(f"{key}.{name}") for key in ("step", "exp_avg", "exp_avg_sq")}
                if kept["step"] is not None:  # else it never had a gradient
                    self.optimizer.state[parameter] = kept
        return at
