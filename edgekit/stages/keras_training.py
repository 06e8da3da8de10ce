"""The training loop of the stages that train a Keras twin under TensorFlow's optimisation toolkit; resumable.

It means by every option what `training`, its counterpart in PyTorch, means by it, but always computes in float32.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..artifact import Job
from ..atomic import write_bytes
from ..errors import StageError
from ..steps import Distillation
from .token_splits import TokenSplit
from .tokens import pad, training_batches
from .twin import FloatArray, compiled, import_keras, predict, weight_names

CHECKPOINT_SECONDS = 30.0
CLIP_NORM = 1.0
#: A schedule needs a beginning and an end, however little data there is.
LEAST_STEPS = 4


@dataclass
class Progress:
    """Where a training stands, and in the end how it went. Accuracies are those of the validation split."""

    step: int = 0
    best_step: int = -1
    best_accuracy: float = -1.0
    best_loss: float = math.inf
    start_accuracy: float = -1.0
    without_gain: int = 0


def planned_steps(texts: int, options: Distillation) -> int:
    """How many optimizer steps a training over so many texts takes."""
    return max(LEAST_STEPS, round(options.epochs * math.ceil(texts / options.batch_size)))


def prepare(seed: int) -> None:
    """Make TensorFlow's operations give the same bits each time."""
    tf, keras = import_keras()
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(seed)


def distillation_loss(student: Any, teacher: Any, labels: Any, temperature: float, alpha: float) -> Any:
    """alpha * T^2 * KL(softmax(teacher / T) || softmax(student / T)) + (1 - alpha) * cross-entropy with the labels.

    Logits are [batch, labels], labels ids [batch]; the mean over the batch (Hinton, Vinyals & Dean 2015,
    arXiv:1503.02531).
    """
    tf, _ = import_keras()
    wanted = tf.nn.log_softmax(teacher / temperature)
    found = tf.nn.log_softmax(student / temperature)
    divergence = tf.reduce_mean(tf.reduce_sum(tf.exp(wanted) * (wanted - found), axis=-1))
    hard = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=student))
    return alpha * temperature**2 * divergence + (1 - alpha) * hard


def _teacher_logits(split: TokenSplit) -> FloatArray:
    if split.teacher_logits is None:
        raise StageError("training: needs the teacher's logits, and the job has no teacher")
    return split.teacher_logits


class Trainer:
    """Trains `model`, a copy of `twin` in the toolkit's wrappers, and leaves the best weights in `twin`.

    `settle()` brings the trained weights into the twin as they will ship: masked, or rounded. Only evaluations from
    step `counts_from` on can be the best; the start is one of them where that is 0. Both texts' splits need the
    teacher's logits. AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101) without dropout: linear warm-up, then linear
    decay to 0. `after_step` is part of each training step's graph.
    """

    def __init__(
        self,
        model: Any,
        twin: Any,
        splits: tuple[TokenSplit, TokenSplit],
        options: Distillation,
        job: Job,
        pad_id: int,
        settle: Callable[[], None],
        counts_from: int = 0,
        after_step: Callable[[], None] | None = None,
    ) -> None:
        _, keras = import_keras()
        self.model, self.twin, self.options, self.job, self.pad_id = model, twin, options, job, pad_id
        self.training, self.validation = splits
        self.teacher_logits = _teacher_logits(self.training), _teacher_logits(self.validation)
        self.settle, self.counts_from, self.after_step = settle, counts_from, after_step
        self.per_epoch = math.ceil(len(self.training.token_ids) / options.batch_size)
        self.total = planned_steps(len(self.training.token_ids), options)
        self.between = max(1, self.per_epoch // options.evaluations)
        model.get_layer("word").trainable = twin.get_layer("word").trainable = options.train_embeddings
        self.optimizer = keras.optimizers.AdamW(0.0, weight_decay=options.weight_decay, epsilon=1e-8, jit_compile=False)
        self.optimizer.exclude_from_weight_decay([v for v in model.trainable_variables if len(v.shape) < 2])
        self.optimizer.build(model.trainable_variables)
        frozen = set() if options.train_embeddings else {id(v) for v in model.get_layer("word").weights}
        self.state = [v for v in (*model.weights, *self.optimizer.variables) if id(v) not in frozen]
        self.kept = {n: v for n, v in weight_names(twin).items() if options.train_embeddings or n != "word.embeddings"}
        self.best: dict[str, FloatArray] = {}
        self.checkpoint = job.checkpoints / "training.safetensors"
        self.answer = compiled(twin)
        self.train_step = self._compiled_step()

    def run(self) -> Progress:
        """Train to the end, or until `patience` evaluations bring nothing, from the checkpoint if there is one."""
        at = self._resume()
        if at.start_accuracy < 0:
            at.start_accuracy, _ = self._evaluate(at)
        saved = time.monotonic()
        for rows in self._batches(at.step):
            if at.without_gain >= self.options.patience:
                break
            loss = self._step(at.step, rows)
            at.step += 1
            accuracy = f", accuracy {at.best_accuracy:.4f}" if at.best_step >= 0 else ""
            self.job.progress(at.step, self.total, "steps", f"loss {loss:.3f}{accuracy}")
            evaluated = at.step % self.between == 0 or at.step == self.total
            if evaluated:
                self._evaluate(at)
            if evaluated or time.monotonic() - saved > CHECKPOINT_SECONDS:
                self._save(at)
                saved = time.monotonic()
        for name, variable in self.kept.items():
            variable.assign(self.best[name])
        return at

    def _batches(self, start: int) -> Iterator[np.ndarray[Any, Any]]:
        """The training batches from step `start` to the last; each epoch's order follows from seed and epoch alone."""
        lengths = [len(ids) for ids in self.training.token_ids]
        for epoch in range(start // self.per_epoch, math.ceil(self.total / self.per_epoch)):
            batches = training_batches(lengths, self.options.batch_size, (self.job.seed, epoch))
            first = epoch * self.per_epoch
            yield from batches[max(0, start - first) : self.total - first]

    def _compiled_step(self) -> Any:
        """One optimizer step as a graph, traced once for all lengths; it answers the loss."""
        tf, _ = import_keras()
        tokens, logits = tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None, None], tf.float32)
        variables = self.model.trainable_variables

        def step(ids: Any, mask: Any, labels: Any, teacher: Any) -> Any:
            with tf.GradientTape() as tape:
                student = self.model([ids, mask], training=True)
                loss = distillation_loss(student, teacher, labels, self.options.temperature, self.options.alpha)
            gradients, _ = tf.clip_by_global_norm(tape.gradient(loss, variables), CLIP_NORM)
            self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
            if self.after_step:
                self.after_step()
            return loss

        return tf.function(
            step, input_signature=[tokens, tokens, tf.TensorSpec([None], tf.int64), logits], autograph=False
        )

    def _step(self, step: int, rows: np.ndarray[Any, Any]) -> float:
        warm = self.options.warmup * self.total
        share = (step + 1) / warm if step < warm else (self.total - step) / (self.total - warm)
        self.optimizer.learning_rate.assign(self.options.learning_rate * min(1.0, share))
        ids, mask = (x.astype(np.int32) for x in pad([self.training.token_ids[row] for row in rows], self.pad_id))
        loss = float(self.train_step(ids, mask, self.training.labels[rows], self.teacher_logits[0][rows]))
        if not math.isfinite(loss):
            raise StageError(f"training: the loss is {loss} at step {step + 1}; a smaller learning_rate may help")
        return loss

    def _evaluate(self, at: Progress) -> tuple[float, float]:
        """Accuracy and loss on the validation split; keeps the weights if they count and were never better."""
        self.settle()
        logits = predict(self.answer, self.validation.token_ids, self.pad_id)
        accuracy = float((logits.argmax(axis=1) == self.validation.labels).mean())
        wanted = self.teacher_logits[1], self.validation.labels
        loss = float(distillation_loss(logits, *wanted, self.options.temperature, self.options.alpha))
        if at.step < self.counts_from:
            return accuracy, loss
        if (accuracy, -loss) > (at.best_accuracy, -at.best_loss):
            at.best_accuracy, at.best_loss, at.best_step, at.without_gain = accuracy, loss, at.step, 0
            self.best = {name: variable.numpy() for name, variable in self.kept.items()}
        else:
            at.without_gain += 1
        return accuracy, loss

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
