"""The training loop of the stages that train a Keras twin of a text encoder under TensorFlow's optimisation toolkit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..artifact import Job
from ..errors import StageError
from ..steps import Distillation
from .keras_import import import_keras
from .keras_loop import Loop, planned_steps, prepare
from .token_splits import TokenSplit
from .tokens import pad, training_batches
from .twin import FloatArray, compiled, predict, weight_names

__all__ = ["Trainer", "distillation_loss", "planned_steps", "prepare"]


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


class Trainer(Loop):
    """Trains `model`, a copy of `twin` in the toolkit's wrappers, and leaves the best weights in `twin`.

    `settle()` brings the trained weights into the twin as they will ship: masked, or rounded. Both texts' splits need
    the teacher's logits. Without dropout. `after_step` is part of each training step's graph.
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
        self.model, self.pad_id, self.settle, self.after_step = model, pad_id, settle, after_step
        self.training, self.validation = splits
        self.teacher_logits = _teacher_logits(self.training), _teacher_logits(self.validation)
        model.get_layer("word").trainable = twin.get_layer("word").trainable = options.train_embeddings
        frozen = set() if options.train_embeddings else {id(v) for v in model.get_layer("word").weights}
        super().__init__(
            model.trainable_variables,
            [v for v in model.weights if id(v) not in frozen],
            {n: v for n, v in weight_names(twin).items() if options.train_embeddings or n != "word.embeddings"},
            len(self.training.token_ids), options, job, counts_from,
        )  # fmt: skip
        self.words = options
        self.answer = compiled(twin)
        self.compiled_step = self._compiled_step()

    def batches(self, epoch: int) -> Sequence[np.ndarray[Any, Any]]:
        """Batches of texts of like length."""
        lengths = [len(ids) for ids in self.training.token_ids]
        return training_batches(lengths, self.words.batch_size, (self.job.seed, epoch))

    def _compiled_step(self) -> Any:
        """One optimizer step as a graph, traced once for all lengths; it answers the loss."""
        tf, _ = import_keras()
        tokens, logits = tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None, None], tf.float32)

        def step(ids: Any, mask: Any, labels: Any, teacher: Any) -> Any:
            with tf.GradientTape() as tape:
                student = self.model([ids, mask], training=True)
                loss = distillation_loss(student, teacher, labels, self.words.temperature, self.words.alpha)
            self.apply(tape, loss)
            if self.after_step:
                self.after_step()
            return loss

        return tf.function(
            step, input_signature=[tokens, tokens, tf.TensorSpec([None], tf.int64), logits], autograph=False
        )

    def train_step(self, step: int, rows: np.ndarray[Any, Any]) -> Any:
        """One optimizer step over these texts."""
        ids, mask = (x.astype(np.int32) for x in pad([self.training.token_ids[row] for row in rows], self.pad_id))
        return self.compiled_step(ids, mask, self.training.labels[rows], self.teacher_logits[0][rows])

    def measure(self) -> tuple[float, float]:
        """Accuracy and loss on the validation split."""
        self.settle()
        logits = predict(self.answer, self.validation.token_ids, self.pad_id)
        accuracy = float((logits.argmax(axis=1) == self.validation.labels).mean())
        wanted = self.teacher_logits[1], self.validation.labels
        return accuracy, float(distillation_loss(logits, *wanted, self.words.temperature, self.words.alpha))
