"""What a student learns from the maps within the teacher, beside its answers."""

from __future__ import annotations

from typing import Any

from ...errors import ConfigError
from ...steps import WeightedDistillation
from ..keras.framework import import_keras
from .models import ImageModel
from .students import map_sizes


class Features:
    """The weighted sum of losses over maps, as a part of a training step's graph.

    hidden: FitNets (Romero et al. 2015, arXiv:1412.6550): where both models have maps of one size, the student's last
    ones, by a learned 1 x 1 projection, are to be the teacher's last ones; squared error ÷ the teacher's mean square.
    similarity: Tung & Mori 2019 (arXiv:1907.09682): how alike the images of a batch are, by the last maps.
    """

    def __init__(self, student: ImageModel, teacher: ImageModel, options: WeightedDistillation) -> None:
        tf, _ = import_keras()
        self.weights = options.losses.chosen
        own, theirs = dict(map_sizes(student.model)), dict(map_sizes(teacher.model))
        pairs = [(own[size], theirs[size]) for size in own if size in theirs]
        if "hidden" not in self.weights:
            pairs = pairs[-1:]
        if not pairs:
            raise ConfigError(
                f"distill.losses: the student's maps are {', '.join(map(str, own))} high, the teacher's "
                f"{', '.join(map(str, theirs))}: none of a size; possible: losses = {{ response = 1.0 }}"
            )
        self._student = self._with_maps(student.model, [name for name, _ in pairs])
        self._teacher = self._with_maps(teacher.model, [name for _, name in pairs])
        random = tf.random.Generator.from_seed(0)
        self.variables = []
        for mine, its in zip(self._student.outputs[1:], self._teacher.outputs[1:], strict=True):
            start = random.normal([mine.shape[-1], its.shape[-1]], stddev=mine.shape[-1] ** -0.5)
            self.variables.append(tf.Variable(start, trainable=True))
        if "hidden" not in self.weights:
            self.variables = []

    @staticmethod
    def _with_maps(model: Any, names: list[str]) -> Any:
        _, keras = import_keras()
        return keras.Model(model.inputs, [model.output, *(model.get_layer(name).output for name in names)])

    def __call__(self, given: Any, given_teacher: Any) -> tuple[Any, Any, Any]:
        """The student's logits, the teacher's, and the sum of the losses over maps."""
        tf, _ = import_keras()
        logits, *own = self._student(given, training=True)
        taught, *theirs = self._teacher(given_teacher, training=False)
        loss = 0.0
        for matrix, mine, its in zip(self.variables, own, theirs, strict=bool(self.variables)):
            error = tf.reduce_mean((tf.tensordot(mine, matrix, 1) - its) ** 2)
            loss += self.weights["hidden"] / len(own) * error / (tf.reduce_mean(its**2) + 1e-6)
        if "similarity" in self.weights:
            difference = _likeness(own[-1]) - _likeness(theirs[-1])
            images = tf.cast(tf.shape(difference)[0], tf.float32)
            loss += self.weights["similarity"] * tf.reduce_sum(difference**2) / images**2
        return logits, taught, loss


def _likeness(maps: Any) -> Any:
    """[batch, batch]: each image's products with the others', each row of length 1."""
    tf, _ = import_keras()
    flat = tf.reshape(maps, [tf.shape(maps)[0], -1])
    return tf.math.l2_normalize(tf.matmul(flat, flat, transpose_b=True), axis=1)
