"""What a student is trained on where the teacher's answers are not all: a weighted sum of losses, as one module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...artifact import Job
from ...errors import ConfigError
from ...steps import Distill, Prune
from ...tasks.texts import task_of
from ..network.encoder import Encoder, load_encoder
from ..network.shrink import keep_layers
from ..network.trace import Trace
from ..text.splits import Split, read_token_ids
from ..text.tokens import Text, encode, load_tokenizer, pad
from ..text.windows import BY_TOKEN, WindowSplit
from . import losses
from .checks import by_token, other_tokens
from .layers import map_layers
from .precision import uses_bfloat16
from .text_losses import by_label_loss, by_text_loss
from .token_losses import by_token_loss

BETWEEN_TEXTS = {
    "distance": losses.distance_loss, "angle": losses.angle_loss, "similarity": losses.similarity_loss,
}  # fmt: skip


def teacher_tokens(tokenizer: Any, texts: Sequence[Text], options: Distill | Prune, job: Job) -> list[list[int]] | None:
    """The teacher's token ids of the texts; None where the losses need nothing of it but its answers.

    `tokenizer` is the student's. Raises ConfigError for losses by token where the two do not split a text alike.
    """
    if not options.losses.need_teacher:
        return None
    theirs = load_tokenizer(job.earlier["teacher"].path / "tokenizer.json", tokenizer.truncation["max_length"])
    if task_of(job.earlier["dataset"].path) in BY_TOKEN:  # their windows are alike, which reading the split has seen to
        return [*read_token_ids(job, theirs, "train")]
    token_ids = encode(theirs, texts)
    if by_token(options.losses):
        row = first_difference(tokenizer, encode(tokenizer, texts), theirs, token_ids)
        if row is not None:
            why = other_tokens(options.losses, "its own", "another")
            raise ConfigError(f"{options.step}.losses: {why}; they differ over the training text {texts[row]!r:.60}")
    return token_ids


def make_objective(
    student: Encoder, teacher_ids: list[list[int]] | None, training: Split, options: Distill | Prune, job: Job
) -> Objective | None:
    """The losses that `options` ask for, over the training rows, of which `teacher_ids` are what the teacher reads.

    None where the teacher's answers are all that they need: then `train` has the loss itself. Raises ConfigError for a
    layer map that does not fit.
    """
    if teacher_ids is None:
        return None
    teacher = load_encoder(job.earlier["teacher"].path)
    pairs = map_layers(options.layer_map, len(student.shape.layers), len(teacher.shape.layers), options.step)
    return Objective(student, teacher, teacher_ids, pairs, training, options, job.seed)


def first_difference(
    student: Any, student_ids: Sequence[Sequence[int]], teacher: Any, teacher_ids: Sequence[Sequence[int]]
) -> int | None:
    """The first row of which the two tokenizers make other tokens; the tokens' numbers may differ."""
    numbers = teacher.get_vocab(with_added_tokens=True)
    same = {number: numbers.get(token) for token, number in student.get_vocab(with_added_tokens=True).items()}
    for row, (own, other) in enumerate(zip(student_ids, teacher_ids, strict=True)):
        if [same[number] for number in own] != other:
            return row
    return None


class Objective(nn.Module):  # type: ignore[misc]
    """`objective(model, ids, mask, rows)`: the loss of a batch of training rows.

    Its parameters are the projection from the student's hidden width to the teacher's, where they differ and `hidden`
    is asked for: one for all layers, as in TinyBERT. The teacher reads the same texts in its own token ids, in
    evaluation mode and without a gradient, and only as far up as the losses need.
    """

    def __init__(
        self, student: Encoder, teacher: Encoder, teacher_ids: list[list[int]], pairs: list[tuple[int, int]],
        training: Split, options: Distill | Prune, seed: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.training_rows, self.options, self.teacher_ids = training, options, teacher_ids
        self.weights = options.losses.chosen
        self.bfloat16 = uses_bfloat16(options.precision)
        self.pairs = {
            "hidden": pairs if "hidden" in self.weights else [],
            "attention": pairs if "attention" in self.weights else [],
            "values": pairs[-1:] if "value_relation" in self.weights else [],  # the last alone, as in MiniLM
        }
        self.teacher = _as_needed(teacher, self.pairs, bool(self.weights.keys() & BETWEEN_TEXTS))
        widths = student.shape.hidden, teacher.shape.hidden
        self.projection: nn.Module = nn.Identity()
        if self.pairs["hidden"] and widths[0] != widths[1]:
            self.projection = nn.Linear(*widths, bias=False)
            generator = torch.Generator().manual_seed(seed)
            nn.init.normal_(self.projection.weight, std=widths[0] ** -0.5, generator=generator)
        if self.pairs["values"]:
            at, of = pairs[-1]
            own, other = student.shape.layers[at], teacher.shape.layers[of]
            self.heads = losses.relation_heads(own.heads * own.head_dim, other.heads * other.head_dim, other.heads)

    def forward(self, model: nn.Module, ids: Tensor, mask: Tensor, rows: np.ndarray[Any, Any]) -> Tensor:
        """alpha * (sum of weight * loss) + (1 - alpha) * cross-entropy with the labels."""
        own = Trace((kind, at) for kind, pairs in self.pairs.items() for at, _ in pairs)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            logits = model(ids, mask, own)
        loss = self._of_answers(logits.float(), rows)
        others = self._traced_teacher(rows)
        for name, weight in self.weights.items():
            if name != "response":
                loss = loss + self.options.alpha * weight * self._of(name, own, others, mask)
        return loss

    def _of_answers(self, logits: Tensor, rows: np.ndarray[Any, Any]) -> Tensor:
        """The part that needs the answers alone: response and labels."""
        alpha, weight = self.options.alpha, self.weights.get("response", 0.0)
        if isinstance(self.training_rows, WindowSplit):
            return by_token_loss(logits, self.training_rows, rows, self.options, weight)
        if self.training_rows.teacher_logits is None or not weight:
            return (1 - alpha) * by_label_loss(logits, self.training_rows, rows)
        return by_text_loss(logits, self.training_rows, rows, self.options, weight)

    def _traced_teacher(self, rows: np.ndarray[Any, Any]) -> Trace:
        """What the teacher computes on the way over the texts of these rows."""
        trace = Trace((kind, of) for kind, pairs in self.pairs.items() for _, of in pairs)
        batch = [self.teacher_ids[row] for row in rows]
        ids, mask = (torch.from_numpy(x) for x in pad(batch, self.teacher.shape.pad_id))
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            self.teacher(ids, mask, trace)
        return trace

    def _of(self, name: str, own: Trace, others: Trace, mask: Tensor) -> Tensor:
        """One loss, in float32; the mean over the mapped layers where there are several."""
        if name in BETWEEN_TEXTS:
            assert own.pooled is not None and others.pooled is not None
            return BETWEEN_TEXTS[name](own.pooled.float(), others.pooled.float())
        kind = "values" if name == "value_relation" else name
        each = []
        for at, of in self.pairs[kind]:
            student, teacher = own[kind, at].float(), others[kind, of].float()
            if kind == "hidden":
                each.append(losses.hidden_loss(self.projection(student), teacher, mask))
            elif kind == "attention":
                each.append(losses.attention_loss(student, teacher, mask))
            else:
                each.append(losses.value_relation_loss(student, teacher, mask, self.heads))
        return torch.stack(each).mean()


def _as_needed(teacher: Encoder, pairs: dict[str, list[tuple[int, int]]], to_the_end: bool) -> Encoder:
    """The teacher without the layers above the highest that is looked at, fixed."""
    layers = len(teacher.shape.layers)
    highest = layers - 1 if to_the_end else max(of for some in pairs.values() for _, of in some)
    if highest < layers - 1:
        teacher = keep_layers(teacher, range(highest + 1))
    teacher.eval().requires_grad_(False)
    return teacher
