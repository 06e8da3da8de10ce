"""The training loop of everything that is trained in Keras, whatever it is fed; resumable, the same bytes each time.

It means by every option what `learning.loop`, its counterpart in PyTorch, means by it, but always computes in float32.
"""

from __future__ import annotations

import json
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from ...artifact import Job
from ...atomic import write_bytes
from ...errors import StageError
from ...steps import Training
from ..learning.schedule import CHECKPOINT_SECONDS, CLIP_NORM, Progress, learning_rate
from .framework import import_keras

#: A schedule needs a beginning and an end, however little data there is.
LEAST_STEPS = 4


def planned_steps(samples: int, options: Training) -> int:
    """How many optimizer steps a training over so many samples takes."""
    return max(LEAST_STEPS, round(options.epochs * math.ceil(samples / options.batch_size)))


def prepare(seed: int) -> None:
    """Make TensorFlow's operations give the same bits each time."""
    tf, keras = import_keras()
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(seed)
    keras.backend.experimental.enable_tf_random_generator()  # dropout draws from variables, which can be kept


def random_states(model: Any, seed: int) -> list[Any]:
    """The variables that the model's random layers, such as dropout, draw from, begun anew by `seed`."""
    drawing = [layer._random_generator for layer in model.submodules if hasattr(layer, "_random_generator")]
    for number, one in enumerate(drawing):
        one._maybe_init()
        one._generator.reset_from_seed(seed + number)
    return [one._generator.state for one in drawing]


class Loop(ABC):
    """Trains `trainable` variables and leaves the best ones in `kept`, by name.

    A score is that of the task's headline, `metric`.

    AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101): linear warm-up, then linear decay to 0; only variables of two
    dimensions or more decay. `state` is all that a step changes beside the optimizer. Only evaluations from step
    `counts_from` on can be the best; the start is one of them where that is 0.
    """

    metric = "accuracy"

    def __init__(
        self, trainable: Sequence[Any], state: Sequence[Any], kept: Mapping[str, Any], samples: int, options: Training,
        job: Job, counts_from: int = 0,
    ) -> None:  # fmt: skip
        _, keras = import_keras()
        self.options, self.job, self.kept, self.counts_from = options, job, kept, counts_from
        self.per_epoch = math.ceil(samples / options.batch_size)
        self.total = planned_steps(samples, options)
        self.between = max(1, self.per_epoch // options.evaluations)
        self.optimizer = keras.optimizers.AdamW(0.0, weight_decay=options.weight_decay, epsilon=1e-8, jit_compile=False)
        self.optimizer.exclude_from_weight_decay([v for v in trainable if len(v.shape) < 2])
        self.optimizer.build(trainable)
        self.trainable = trainable
        self.state = [*state, *self.optimizer.variables]
        self.best: dict[str, np.ndarray[Any, np.dtype[np.float32]]] = {}
        self.checkpoint = job.checkpoints / "training.safetensors"

    @abstractmethod
    def batches(self, epoch: int) -> Sequence[np.ndarray[Any, Any]]:
        """The rows of each batch of an epoch; they follow from seed and epoch alone."""

    @abstractmethod
    def train_step(self, step: int, rows: np.ndarray[Any, Any]) -> Any:
        """One optimizer step over these rows; it answers the loss."""

    @abstractmethod
    def measure(self) -> tuple[float, float]:
        """Score and loss of what would be kept now, on the validation split."""

    def run(self) -> Progress:
        """Train to the end, or until `patience` evaluations bring nothing, from the checkpoint if there is one."""
        at = self._resume()
        if at.start_score is None:
            at.start_score = self._evaluate(at)
        saved = time.monotonic()
        for rows in self._rows(at.step):
            if at.without_gain >= self.options.patience:
                break
            loss = self._step(at.step, rows)
            at.step += 1
            score = f", {self.metric} {at.best_score:.4f}" if at.best_step >= 0 else ""
            self.job.progress(at.step, self.total, "steps", f"loss {loss:.3f}{score}")
            evaluated = at.step % self.between == 0 or at.step == self.total
            if evaluated:
                self._evaluate(at)
            if evaluated or time.monotonic() - saved > CHECKPOINT_SECONDS:
                self._save(at)
                saved = time.monotonic()
        for name, variable in self.kept.items():
            variable.assign(self.best[name])
        return at

    def _rows(self, start: int) -> Iterator[np.ndarray[Any, Any]]:
        """The training batches from step `start` to the last."""
        for epoch in range(start // self.per_epoch, math.ceil(self.total / self.per_epoch)):
            first = epoch * self.per_epoch
            yield from self.batches(epoch)[max(0, start - first) : self.total - first]

    def apply(self, tape: Any, loss: Any) -> None:
        """Within a graph: clip the gradients of a loss and step."""
        tf, _ = import_keras()
        gradients, _ = tf.clip_by_global_norm(tape.gradient(loss, self.trainable), CLIP_NORM)
        self.optimizer.apply_gradients(zip(gradients, self.trainable, strict=True))

    def _step(self, step: int, rows: np.ndarray[Any, Any]) -> float:
        self.optimizer.learning_rate.assign(learning_rate(step, self.total, self.options))
        loss = float(self.train_step(step, rows))
        if not math.isfinite(loss):
            raise StageError(f"training: the loss is {loss} at step {step + 1}; a smaller learning_rate may help")
        return loss

    def _evaluate(self, at: Progress) -> float:
        """The score on the validation split; keeps the weights if they count and were never better."""
        score, loss = self.measure()
        if at.step >= self.counts_from and at.is_best(score, loss, self.options.best_by):
            self.best = {name: np.array(variable) for name, variable in self.kept.items()}
        return score

    def _save(self, at: Progress) -> None:
        """Write the checkpoint: one safetensors file with all that changes, the best weights and the progress."""
        from safetensors.numpy import save

        tensors = {f"state.{number}": np.asarray(v) for number, v in enumerate(self.state)}
        tensors |= {f"best.{name}": value for name, value in self.best.items()}
        write_bytes(self.checkpoint, save(tensors, metadata={"progress": json.dumps(asdict(at))}))

    def _resume(self) -> Progress:
        """Take up the checkpoint, if there is one. A damaged one is left aside: it was only a short cut."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.checkpoint, framework="numpy") as file:
                at = Progress(**json.loads(file.metadata()["progress"]))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (FileNotFoundError, SafetensorError):
            return Progress()
        for number, variable in enumerate(self.state):
            variable.assign(tensors[f"state.{number}"])
        self.best = {name.removeprefix("best."): value for name, value in tensors.items() if name.startswith("best.")}
        return at
