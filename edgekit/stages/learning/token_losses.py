"""The losses of models that answer by token: spans of text, and tags of words. Each answers a scalar.

`asked` is [batch, tokens], true at the tokens whose logits count; all others are arbitrary and count nowhere. `taught`
is [batch], 1 for rows of which the teacher's logits are known, else 0.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from ...steps import Distillation, Training
from ..text.windows import IntArray, WindowSplit
from .losses import MASKED


def span_loss(
    student: Tensor, teacher: Tensor, taught: Tensor, spans: Tensor, asked: Tensor, temperature: float,
    shares: tuple[float, float],
) -> Tensor:  # fmt: skip
    """shares[0] * T^2 * KL(softmax(teacher / T) || softmax(student / T)) + shares[1] * cross-entropy, over positions.

    Logits are [batch, tokens, 2], of start and end; `spans` [batch, 2] their positions. Each end is one distribution
    over the tokens that are asked (BERT: Devlin et al. 2019, arXiv:1810.04805, section 4.2); the loss is the mean of
    both ends' and over the rows. Distillation as DistilBERT's on SQuAD (Sanh et al. 2019, arXiv:1910.01108).
    """
    own, wanted = (x.masked_fill(~asked[:, :, None], MASKED).transpose(1, 2).flatten(0, 1) for x in (student, teacher))
    divergence = (_divergence(own, wanted, temperature) * taught.repeat_interleave(2)).mean()
    return shares[0] * divergence + shares[1] * functional.cross_entropy(own, spans.flatten())


def tag_loss(
    student: Tensor, teacher: Tensor, taught: Tensor, tags: Tensor, asked: Tensor, temperature: float,
    shares: tuple[float, float],
) -> Tensor:  # fmt: skip
    """shares[0] * T^2 * KL(softmax(teacher / T) || softmax(student / T)) + shares[1] * cross-entropy, over labels.

    Logits are [batch, tokens, labels], `tags` [batch, tokens] ids of labels. The mean over the tokens that are asked,
    of all rows together; where there is none, 0.
    """
    count = asked.sum().clamp(min=1)
    divergence = _divergence(student[asked], teacher[asked], temperature) * taught[:, None].expand(asked.shape)[asked]
    hard = functional.cross_entropy(student[asked], tags[asked], reduction="sum")
    return (shares[0] * divergence.sum() + shares[1] * hard) / count


def _divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 * KL of rows [n, choices]: one number a row."""
    own, wanted = (functional.log_softmax(x / temperature, dim=-1) for x in (student, teacher))
    return temperature**2 * functional.kl_div(own, wanted, reduction="none", log_target=True).sum(dim=-1)


def by_token_loss(
    logits: Tensor, split: WindowSplit, rows: IntArray, options: Training, response: float = 1.0
) -> Tensor:
    """The loss of logits [rows, width, outputs] for these rows of a split.

    Distillation's where the options say how, `response` being the weight of the teacher's part; else the labels' alone.
    """
    labels, asked, teacher, taught = (torch.from_numpy(x) for x in split.targets(rows.tolist(), logits.shape[1]))
    temperature, shares = 1.0, (0.0, 1.0)
    if isinstance(options, Distillation):
        temperature, shares = options.temperature, (options.alpha * response, 1 - options.alpha)
    loss = span_loss if split.of_spans else tag_loss
    return loss(logits, teacher, taught, labels, asked, temperature, shares)
