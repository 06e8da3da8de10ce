from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edgekit.ondevice.errors import OnDeviceError
from edgekit.ondevice.runtimes import load_runtime
from edgekit.ondevice.runtimes.buckets import installed_version, serve


def spy(seen: list[tuple[int, list[int], list[int]]]) -> Callable[..., Callable[[], np.ndarray]]:
    """Notes the bucket and what stands in its memory whenever it is asked."""

    def open_bucket(bucket: int, ids: np.ndarray, mask: np.ndarray) -> Callable[[], np.ndarray]:
        def answer() -> np.ndarray:
            seen.append((bucket, ids[0].tolist(), mask[0].tolist()))
            return np.array([float(bucket)])

        return answer

    return open_bucket


def ask(predict: Callable[..., np.ndarray], ids: list[int]) -> float:
    return float(predict(np.array([ids]), np.ones((1, len(ids)), np.int64))[0])


def test_the_smallest_bucket_that_fits_answers_and_old_texts_leave_no_trace() -> None:
    seen: list[tuple[int, list[int], list[int]]] = []
    predict = serve((2, 4), spy(seen))
    assert [ask(predict, ids) for ids in ([7], [7, 8], [7, 8, 9], [1, 2, 3, 4], [5, 6, 7])] == [2, 2, 4, 4, 4]
    assert seen[0] == (2, [7, 0], [1, 0])
    assert seen[1] == (2, [7, 8], [1, 1])
    assert seen[3] == (4, [1, 2, 3, 4], [1, 1, 1, 1])
    assert seen[4] == (4, [5, 6, 7, 0], [1, 1, 1, 0])


def test_the_memory_has_the_type_that_the_model_takes() -> None:
    types = []

    def open_bucket(bucket: int, ids: np.ndarray, mask: np.ndarray) -> Callable[[], np.ndarray]:
        types.append((ids.dtype, mask.dtype))
        return lambda: ids

    serve((2,), open_bucket)
    serve((2,), open_bucket, np.int64)
    assert types == [(np.int32, np.int32), (np.int64, np.int64)]


def test_what_is_not_installed_has_no_version() -> None:
    assert installed_version("no-such-distribution") is None
    assert installed_version("numpy") == np.__version__


def test_an_unknown_runtime_is_refused() -> None:
    with pytest.raises(OnDeviceError, match="no runtime 'tensorrt'; possible: litert, onnxruntime, openvino, tflite"):
        load_runtime("tensorrt")
