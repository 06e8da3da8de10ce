"""The distillation losses: pure functions of a student's and a teacher's tensors, each a scalar.

`mask` is [batch, tokens], 1 where a token is read; what stands elsewhere counts nowhere. No gradient is meant to reach
the teacher's tensors. Widths may differ wherever a loss compares relations instead of the vectors themselves.
"""

from __future__ import annotations

from math import gcd

import torch
from torch import Tensor
from torch.nn import functional

#: The label of a text that has none: only the teacher's answer counts there. Where labels are floats, not a number is.
UNLABELLED = -1

#: Instead of minus infinity, with which a divergence of what is masked in both would be no number.
MASKED = -1e9

#: Keeps a division by a length of zero finite.
TINY = 1e-12

#: Texts that are this much nearer to each other than texts are on average coincide: no direction leads between them.
SHORT = 1e-4


def distillation_loss(
    student: Tensor, teacher: Tensor, labels: Tensor, temperature: float, alpha: float, response: float = 1.0
) -> Tensor:
    """alpha * response * T^2 * KL(softmax(teacher / T) || softmax(student / T)) + (1 - alpha) * labels' cross-entropy.

    Logits are [batch, labels], labels ids [batch]; the mean over the batch. Hinton, Vinyals & Dean 2015,
    arXiv:1503.02531: T^2 keeps the gradients' size independent of the temperature. `response` is the loss's weight in
    a sum of several.
    """
    divergence = functional.kl_div(
        functional.log_softmax(student / temperature, dim=-1),
        functional.log_softmax(teacher / temperature, dim=-1),
        reduction="batchmean",
        log_target=True,
    )
    return alpha * response * temperature**2 * divergence + (1 - alpha) * label_loss(student, labels)


def label_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """The labels' cross-entropy: a sum over the texts that have one, over the number of all texts."""
    summed = functional.cross_entropy(logits, labels, ignore_index=UNLABELLED, reduction="sum")
    return summed / len(labels)


def value_loss(values: Tensor, labels: Tensor) -> Tensor:
    """The mean squared difference of values and labels [batch, 1]; a text whose label is not a number adds 0."""
    apart = torch.where(labels.isnan(), 0.0, values - labels)
    return apart.square().sum() / len(labels)


def value_distillation_loss(
    student: Tensor, teacher: Tensor, labels: Tensor, alpha: float, response: float = 1.0
) -> Tensor:
    """alpha * response * mean squared difference to the teacher's values + (1 - alpha) * that to the labels.

    All are [batch, 1]. The squared difference of the outputs themselves is how Ba & Caruana (2014, arXiv:1312.6184,
    eq. 1) distil, and TinyBERT (Jiao et al. 2020, arXiv:1909.10351) where the task is a regression, GLUE's STS-B.
    """
    return alpha * response * value_loss(student, teacher) + (1 - alpha) * value_loss(student, labels)


def set_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """The binary cross-entropy of each label, 0 or 1, [batch, labels]: the mean over labels and texts.

    A text whose labels are not numbers adds 0.
    """
    known = labels.isnan().logical_not()
    each = functional.binary_cross_entropy_with_logits(logits, labels.nan_to_num(), reduction="none")
    return torch.where(known, each, 0.0).sum() / labels.numel()


def set_distillation_loss(
    student: Tensor, teacher: Tensor, labels: Tensor, temperature: float, alpha: float, response: float = 1.0
) -> Tensor:
    """alpha * response * T^2 * KL of each label's two outcomes + (1 - alpha) * binary cross-entropy with the labels.

    Logits are [batch, labels]. A label's divergence is KL((p, 1 - p) || (q, 1 - q)) with p = sigmoid(teacher / T) and
    q = sigmoid(student / T): one against the rest, as Yang et al. 2023 (arXiv:2308.06453) distil several labels; the
    mean over labels and texts, so that it stands against the cross-entropy whatever the number of labels.
    """
    own, wanted = student / temperature, teacher / temperature
    chance = wanted.sigmoid()
    divergence = chance * (functional.logsigmoid(wanted) - functional.logsigmoid(own))
    divergence = divergence + (1 - chance) * (functional.logsigmoid(-wanted) - functional.logsigmoid(-own))
    return alpha * response * temperature**2 * divergence.mean() + (1 - alpha) * set_loss(student, labels)


def hidden_loss(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Mean squared difference of two layers' outputs [batch, tokens, hidden], over the tokens that are read.

    FitNets' hints (Romero et al. 2015, arXiv:1412.6550), for transformers as in TinyBERT (Jiao et al. 2020,
    arXiv:1909.10351, eq. 8). A student of another width is projected to the teacher's before.
    """
    return _over_tokens((student - teacher).square().mean(dim=-1), mask)


def attention_loss(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Squared distance between the two attention distributions of each token that is read; the mean over the tokens.

    Attention weights are [batch, tokens, tokens]: each side's mean over its heads, so that their numbers may differ.
    One attention map for each layer as in attention transfer (Zagoruyko & Komodakis 2017, arXiv:1612.03928), where
    TinyBERT (Jiao et al. 2020, arXiv:1909.10351, eq. 7) compares head by head.
    """
    return _over_tokens((student - teacher).square().sum(dim=-1), mask)


def value_relation_loss(student: Tensor, teacher: Tensor, mask: Tensor, heads: int) -> Tensor:
    """KL(teacher's value relation || student's), the mean over relation heads and over the tokens that are read.

    A relation is softmax(V V^T / sqrt(d)) over the tokens (MiniLM: Wang et al. 2020, arXiv:2002.10957, eq. 5). The
    values [batch, tokens, width] of all attention heads are cut into `heads` relation heads anew, so that neither the
    number of attention heads nor the width has to agree (MiniLMv2: Wang et al. 2021, arXiv:2012.15828).
    """
    own, wanted = (_relation(values, mask, heads) for values in (student, teacher))
    divergence = functional.kl_div(own, wanted, reduction="none", log_target=True).sum(dim=-1)  # [batch, heads, tokens]
    return _over_tokens(divergence.mean(dim=1), mask)


def relation_heads(student_width: int, teacher_width: int, most: int) -> int:
    """Into how many relation heads both widths can be cut: as many as the teacher has heads, or the next fewer."""
    common = gcd(student_width, teacher_width)
    return next(heads for heads in range(min(most, common), 0, -1) if common % heads == 0)


def distance_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Huber loss of the distances between all pairs of texts, each side's in units of its own mean distance.

    Vectors are [batch, width]. Relational knowledge distillation, distance-wise (Park et al. 2019, arXiv:1904.05068,
    eq. 5 to 7). Of a single text there is nothing to compare: 0.
    """
    if len(student) < 2:
        return student.sum() * 0.0
    own, wanted = (functional.pdist(x) for x in (student, teacher))
    own, wanted = (d / d.mean().clamp(min=TINY) for d in (own, wanted))
    return functional.smooth_l1_loss(own, wanted)


def angle_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Huber loss of the cosines of the angles in all triangles of texts.

    Vectors are [batch, width]. Relational knowledge distillation, angle-wise (Park et al. 2019, arXiv:1904.05068,
    eq. 8 to 10): the mean over ordered triples of different texts. Between two texts that all but coincide on one
    side there is no direction, and a gradient without bound: triangles with such an arm are left out. Where none is
    left, as with fewer than three texts: 0.
    """
    own, wanted = (x[None, :, :] - x[:, None, :] for x in (student, teacher))  # [j, i]: the arm from text j to i
    arms = _has_length(own) & _has_length(wanted)
    each = arms.sum(dim=1)
    count = int((each * (each - 1)).sum())
    if count == 0:
        return student.sum() * 0.0
    # where both arms are one and the same the cosine is 1 on both sides, and adds nothing
    return functional.smooth_l1_loss(_cosines(own, arms), _cosines(wanted, arms), reduction="sum") / count


def similarity_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of the two batches' similarity matrices, X X^T with rows of length 1.

    Vectors X are [batch, width]. Similarity-preserving distillation (Tung & Mori 2019, arXiv:1907.09682, eq. 2 to 4).
    """
    own, wanted = (functional.normalize(x @ x.T, dim=1) for x in (student, teacher))
    return (own - wanted).square().mean()


def _over_tokens(values: Tensor, mask: Tensor) -> Tensor:
    """The mean of [batch, tokens] over the tokens that are read."""
    return (values * mask).sum() / mask.sum()


def _relation(values: Tensor, mask: Tensor, heads: int) -> Tensor:
    """Logarithms of softmax(V V^T / sqrt(d)), [batch, heads, tokens, tokens]."""
    split = values.unflatten(-1, (heads, -1)).transpose(1, 2)
    scores = (split @ split.transpose(-1, -2)) * split.shape[-1] ** -0.5
    return functional.log_softmax(scores.masked_fill(mask[:, None, None, :] == 0, MASKED), dim=-1)


def _has_length(arms: Tensor) -> Tensor:
    """[j, i]: whether the arm from text j to text i is long enough, against the mean arm, to have a direction."""
    lengths = arms.detach().norm(dim=-1)
    return lengths > SHORT * lengths.sum() / max(1, len(arms) * (len(arms) - 1))


def _cosines(arms: Tensor, chosen: Tensor) -> Tensor:
    """[j, i, k]: the cosine of the angle at text j between texts i and k; 0 where one of the arms is not chosen."""
    unit = functional.normalize(arms.masked_fill(~chosen[:, :, None], 0.0), dim=-1, eps=TINY)
    return torch.bmm(unit, unit.transpose(1, 2))
