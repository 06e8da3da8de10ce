"""What all runtimes share: a text goes to the smallest bucket that it fits into, through memory that is reused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Predict = Callable[[Array, Array], Array]
#: Given a bucket's length and its two input arrays, a function that answers for what then stands in them.
OpenBucket = Callable[[int, Array, Array], Callable[[], Array]]


def installed_version(distribution: str) -> str | None:
    """The version of an installed distribution, or None."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def serve(buckets: Sequence[int], open_bucket: OpenBucket, dtype: Any = np.int32) -> Predict:
    """One `predict` for texts of every length up to the last bucket. Padding has id 0 and mask 0."""
    by_length: list[tuple[Array, Array, Callable[[], Array]]] = []
    for bucket in buckets:
        ids, mask = np.zeros((1, bucket), dtype), np.zeros((1, bucket), dtype)
        mask[:, 0] = 1  # a text without any token would be no text
        by_length += [(ids, mask, open_bucket(bucket, ids, mask))] * (bucket + 1 - len(by_length))

    def predict(input_ids: Array, attention_mask: Array) -> Array:
        length = input_ids.shape[1]
        ids, mask, answer = by_length[length]
        ids[:, :length] = input_ids
        ids[:, length:] = 0
        mask[:, :length] = attention_mask
        mask[:, length:] = 0
        return answer()

    return predict
