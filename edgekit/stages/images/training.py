"""How image classifiers are trained: on labels, or on what a teacher answers to the very images that are shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...artifact import Job
from ...errors import StageError
from ...steps import Distillation, Distort, Training, WeightedDistillation
from ...tasks.image_classification import Examples, load
from ..keras.framework import import_keras
from ..keras.loop import Loop, random_states
from ..learning.teacher_outputs import teacher_logits
from .distort import distorted
from .losses import Features
from .models import Array, ImageModel, compiled, load_model, weight_names

LossOf = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Lessons:
    """What a model learns from: images, the teacher where there is one, and how the images are changed."""

    training: Examples
    validation: Examples
    teacher: ImageModel | None = None
    teacher_validation: Array | None = None  # its logits
    distort: Distort | None = None
    features: Features | None = None


def read_lessons(job: Job, distort: Distort | None) -> Lessons:
    """The job's dataset with its teacher."""
    dataset, teacher = job.earlier["dataset"].path, job.earlier["teacher"]
    validation = load(dataset, "validation")
    logits = teacher_logits(teacher, "validation", len(validation.labels))
    return Lessons(load(dataset, "train"), validation, load_model(teacher.path), logits, distort)


def loss_of(options: Training) -> Callable[[Any, Any, Any], Any]:
    """The loss of logits [batch, labels] against the teacher's, if there are, and the labels as shares.

    With a teacher it is Hinton, Vinyals & Dean 2015's (arXiv:1503.02531), as `Distillation` has it, with the weight
    that `WeightedDistillation` gives the response; else cross-entropy.
    """
    tf, _ = import_keras()
    weight = options.losses.response if isinstance(options, WeightedDistillation) else 1.0

    def loss(logits: Any, teacher: Any, shares: Any) -> Any:
        hard = tf.reduce_mean(-tf.reduce_sum(shares * tf.nn.log_softmax(logits), axis=-1))
        if teacher is None or not isinstance(options, Distillation):
            return hard
        wanted = tf.nn.log_softmax(teacher / options.temperature)
        found = tf.nn.log_softmax(logits / options.temperature)
        soft = tf.reduce_mean(tf.reduce_sum(tf.exp(wanted) * (wanted - found), axis=-1))
        return weight * options.alpha * options.temperature**2 * soft + (1 - options.alpha) * hard

    return loss


class ImageTrainer(Loop):
    """Trains `model.model`, or `wrapped` in its place, and leaves the best weights in `model.model`.

    `wrapped` is the same model in the toolkit's wrappers; `settle()` brings its weights into the model as they will
    ship. `judged` answers the validation images, by default the model itself.
    """

    def __init__(
        self,
        model: ImageModel,
        lessons: Lessons,
        options: Training,
        job: Job,
        wrapped: Any = None,
        kept: dict[str, Any] | None = None,
        settle: Callable[[], None] = lambda: None,
        counts_from: int = 0,
        after_step: Callable[[], None] | None = None,
    ) -> None:
        self.model, self.lessons, self.settle, self.after_step = model, lessons, settle, after_step
        self.trained = wrapped if wrapped is not None else model.model
        extra = lessons.features.variables if lessons.features else []
        super().__init__(
            [*self.trained.trainable_variables, *extra],
            [*self.trained.weights, *extra, *random_states(self.trained, job.seed)],
            weight_names(model.model) if kept is None else kept,
            len(lessons.training.labels), options, job, counts_from,
        )  # fmt: skip
        self.loss = loss_of(options)
        self.shares = np.eye(len(model.labels), dtype=np.float32)
        self.answer = compiled(model if kept is None else model.with_model(self.trained))
        self.compiled_step = self._compiled_step()

    def batches(self, epoch: int) -> Sequence[np.ndarray[Any, Any]]:
        """All images in a random order."""
        count, size = len(self.lessons.training.labels), self.options.batch_size
        order = np.random.default_rng((self.job.seed, epoch)).permutation(count)
        return [order[start : start + size] for start in range(0, count, size)]

    def _compiled_step(self) -> Any:
        """One optimizer step as a graph, traced once for all sizes of batches; it answers the loss."""
        tf, _ = import_keras()
        teacher, features = self.lessons.teacher, self.lessons.features
        alpha = self.options.alpha if isinstance(self.options, Distillation) else 0.0

        def step(images: Any, shares: Any) -> Any:
            taught = teacher.model(teacher.pixels(images), training=False) if teacher and not features else None
            given = self.model.pixels(images)
            with tf.GradientTape() as tape:
                if features and teacher:
                    logits, taught, more = features(given, teacher.pixels(images))
                    loss = self.loss(logits, taught, shares) + alpha * more
                else:
                    loss = self.loss(self.trained(given, training=True), taught, shares)
            self.apply(tape, loss)
            if self.after_step:
                self.after_step()
            return loss

        images = tf.TensorSpec([None, *self.model.shape], tf.float32)
        shares = tf.TensorSpec([None, len(self.model.labels)], tf.float32)
        return tf.function(step, input_signature=[images, shares], autograph=False)

    def train_step(self, step: int, rows: np.ndarray[Any, Any]) -> Any:
        """One optimizer step over these images, changed by a draw of their own."""
        images: Any = self.lessons.training.images[rows]
        shares = self.shares[self.lessons.training.labels[rows]]
        if self.lessons.distort:
            images, shares = distorted(images, shares, self.lessons.distort, (self.job.seed, step, 1))
        return self.compiled_step(np.asarray(images, np.float32), shares)

    def measure(self) -> tuple[float, float]:
        """Accuracy and loss on the validation split."""
        self.settle()
        validation = self.lessons.validation
        logits = np.concatenate([self.answer(validation.images[at : at + 100])
                                 for at in range(0, len(validation.labels), 100)])  # fmt: skip
        if not np.isfinite(logits).all():
            raise StageError("training: the answers are no longer finite numbers; a smaller learning_rate may help")
        accuracy = float((logits.argmax(axis=1) == validation.labels).mean())
        loss = self.loss(logits, self.lessons.teacher_validation, self.shares[validation.labels])
        return accuracy, float(loss)
