"""The training loop of the stages that train a Keras twin of a text encoder under TensorFlow's optimisation toolkit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...artifact import Job
from ...steps import Distillation
from ..text.splits import Split
from ..text.tokens import pad, training_batches
from ..text.windows import WindowSplit
from .framework import import_keras
from .goals import distillation_loss, goal_of
from .loop import Loop, planned_steps, prepare
from .twin import compiled, predict, weight_names

__all__ = ["Trainer", "distillation_loss", "planned_steps", "prepare"]


class Trainer(Loop):
    """Trains `model`, a copy of `twin` in the toolkit's wrappers, and leaves the best weights in `twin`.

    `settle()` brings the trained weights into the twin as they will ship: masked, or rounded. Both texts' splits need
    the teacher's logits. Without dropout. `after_step` is part of each training step's graph.
    """

    def __init__(
        self,
        model: Any,
        twin: Any,
        splits: tuple[Split, Split],
        options: Distillation,
        job: Job,
        pad_id: int,
        settle: Callable[[], None],
        counts_from: int = 0,
        after_step: Callable[[], None] | None = None,
    ) -> None:
        self.model, self.pad_id, self.settle, self.after_step = model, pad_id, settle, after_step
        self.training, self.validation = splits
        self.metric = self.validation.metric
        self.goal = goal_of(self.training, options)
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
        tokens = tf.TensorSpec([None, None], tf.int32)

        def step(ids: Any, mask: Any, *targets: Any) -> Any:
            with tf.GradientTape() as tape:
                loss = self.goal.loss(self.model([ids, mask], training=True), *targets)
            self.apply(tape, loss)
            if self.after_step:
                self.after_step()
            return loss

        return tf.function(step, input_signature=[tokens, tokens, *self.goal.specs], autograph=False)

    def train_step(self, step: int, rows: np.ndarray[Any, Any]) -> Any:
        """One optimizer step over these texts."""
        ids, mask = (x.astype(np.int32) for x in pad([self.training.token_ids[row] for row in rows], self.pad_id))
        return self.compiled_step(ids, mask, *self.goal.targets(self.training, rows, ids.shape[1]))

    def measure(self) -> tuple[float, float]:
        """The headline and the loss on the validation split."""
        self.settle()
        logits = predict(self.answer, self.validation.token_ids, self.pad_id)
        score = self.validation.score(logits)[self.metric]
        by_row = self.validation.padded(logits) if isinstance(self.validation, WindowSplit) else logits
        every = np.arange(len(self.validation.token_ids))
        return score, float(self.goal.loss(by_row, *self.goal.targets(self.validation, every, by_row.shape[1])))
