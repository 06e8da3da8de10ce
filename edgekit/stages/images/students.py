"""Image classifiers of given width and depth, for images of any size: MobileNets, and a plain residual network.

They read pixels of 0 to 255 as they are: the first normalisation learns the rest, and an INT8 input is the pixels'
own bytes. All of their layers are ones that the toolkit's quantisation knows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ...errors import ConfigError
from ...steps import Student
from ..keras.framework import import_keras

#: Blocks in a row: (expansion, channels, repeats, whether the first one halves the map, kernel).
MOBILENET_V2 = (
    (1, 16, 1, False, 3), (6, 24, 2, True, 3), (6, 32, 3, True, 3), (6, 64, 4, True, 3), (6, 96, 3, False, 3),
    (6, 160, 3, True, 3), (6, 320, 1, False, 3),
)  # fmt: skip
#: V3-small as its authors published it for INT8: "minimalistic", without squeeze and excitation, hard swish and 5 x 5.
MOBILENET_V3 = (
    (1, 16, 1, True, 3), (4.5, 24, 1, True, 3), (3.66, 24, 1, False, 3), (4, 40, 1, True, 3), (6, 40, 2, False, 3),
    (3, 48, 2, False, 3), (6, 96, 1, True, 3), (6, 96, 2, False, 3),
)  # fmt: skip
STEMS = {"mobilenet_v2": 32, "mobilenet_v3": 16}
#: Three sizes of maps, as He et al. 2016 have for CIFAR (arXiv:1512.03385).
RESNET = (16, 32, 64)

#: The last map stays at least this high, where the image is.
SMALLEST_MAP = 4
#: Images up to this size are read at full size by the first convolution.
TINY = 16
#: The last convolution has so many channels at width 1: for large images, as in the papers, and for small ones.
HEAD, SMALL_HEAD, LARGE_IMAGE = 1280, 320, 96
MOMENTUM = 0.9  # of the running statistics: short trainings


def build_student(student: Student, shape: tuple[int, int, int], labels: int) -> Any:
    """An untrained model: `image` [batch, height, width, channels], 0 to 255, to `logits` [batch, labels]."""
    _, keras = import_keras()
    keras.backend.clear_session()  # names of unnamed layers count from 1
    size = min(shape[:2])
    if size < SMALLEST_MAP:
        raise ConfigError(
            f"distill.student: images of {shape[0]} x {shape[1]} are too small; possible: {SMALLEST_MAP} or more"
        )
    image = keras.Input(shape, name="image")
    x = _resnet(image, student, size) if student.architecture == "resnet" else _mobilenet(image, student, size)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, keras.layers.Dense(labels, name="logits")(x), name="student")


def channels(wanted: float, step: int = 8) -> int:
    """The nearest multiple of `step`, never 10 % below what is wanted (MobileNets' `make_divisible`)."""
    nearest = max(step, int(wanted + step / 2) // step * step)
    return nearest + step if nearest < 0.9 * wanted else nearest


def _halvings(size: int, places: int) -> set[int]:
    """Which of an architecture's `places` for halving the map are used for images of this size; 0 is the stem.

    All of them where the image is large. For smaller ones the first convolution halves, which saves the most, and
    then the places in the middle; images of 16 or less stay whole in the first.
    """
    most = max(0, int(math.log2(size / SMALLEST_MAP)))
    middle = [2, 3, 1, *range(4, places)]
    order = middle if size <= TINY else [0, *middle]
    return set(order[:most])


def _mobilenet(x: Any, student: Student, size: int) -> Any:
    blocks = MOBILENET_V2 if student.architecture == "mobilenet_v2" else MOBILENET_V3
    used = _halvings(size, 1 + sum(block[3] for block in blocks))
    stem = STEMS[student.architecture]
    x = _conv(x, channels(stem * student.width), "stem", stride=2 if 0 in used else 1)
    place = 0
    for number, (expansion, width, repeats, halves, kernel) in enumerate(blocks):
        place += halves
        for repeat in range(max(1, round(repeats * student.depth))):
            stride = 2 if halves and repeat == 0 and place in used else 1
            x = _inverted(x, expansion, channels(width * student.width), stride, kernel, f"block{number}.{repeat}")
    head = HEAD if size >= LARGE_IMAGE else SMALL_HEAD
    return _conv(x, channels(head * min(1.0, student.width)), "head", kernel=1)


def _inverted(x: Any, expansion: float, width: int, stride: int, kernel: int, name: str) -> Any:
    """Sandler et al. 2018's block: wider by 1 x 1, each channel filtered, narrower by 1 x 1, and the input added."""
    _, keras = import_keras()
    given = x
    if expansion > 1:
        x = _conv(x, channels(x.shape[-1] * expansion), f"{name}.expand", kernel=1)
    x = keras.layers.DepthwiseConv2D(
        kernel, strides=stride, padding="same", use_bias=False, name=f"{name}.depthwise"
    )(x)  # fmt: skip
    x = _relu(_norm(x, f"{name}.depthwise"), f"{name}.depthwise")
    x = _conv(x, width, f"{name}.project", kernel=1, active=False)
    if stride == 1 and given.shape[-1] == width:
        x = keras.layers.Add(name=f"{name}.add")([given, x])
    return x


def _resnet(x: Any, student: Student, size: int) -> Any:
    """He et al. 2016's network for small images: a stem, and blocks of two 3 x 3 convolutions at each size."""
    _, keras = import_keras()
    widths = [channels(width * student.width, 4) for width in RESNET]
    x = _conv(x, widths[0], "stem", stride=2 if size > 2 * TINY else 1)
    for number, width in enumerate(widths):
        for repeat in range(max(1, round(student.depth))):
            stride = 2 if number and repeat == 0 and size >= SMALLEST_MAP << number else 1
            name = f"block{number}.{repeat}"
            y = _conv(x, width, f"{name}.first", stride=stride)
            y = _conv(y, width, f"{name}.second", active=False)
            if stride > 1 or x.shape[-1] != width:
                x = _conv(x, width, f"{name}.short", kernel=1, stride=stride, active=False)
            x = _relu(keras.layers.Add(name=f"{name}.add")([x, y]), name)
    return x


def _conv(x: Any, width: int, name: str, kernel: int = 3, stride: int = 1, active: bool = True) -> Any:
    _, keras = import_keras()
    x = keras.layers.Conv2D(width, kernel, strides=stride, padding="same", use_bias=False, name=name)(x)
    x = _norm(x, name)
    return _relu(x, name) if active else x


def _norm(x: Any, name: str) -> Any:
    _, keras = import_keras()
    return keras.layers.BatchNormalization(momentum=MOMENTUM, name=f"{name}.norm")(x)


def _relu(x: Any, name: str) -> Any:
    """ReLU6, whose range INT8 knows from the start."""
    _, keras = import_keras()
    return keras.layers.ReLU(6.0, name=f"{name}.relu")(x)


def map_sizes(model: Any) -> Sequence[tuple[int, str]]:
    """(height of the map, layer) of a model's last layer with maps of each size, the largest first."""
    last: dict[int, str] = {}
    for layer in model.layers:
        if len(layer.output_shape) == 4 and type(layer).__name__ not in ("InputLayer", "Rescaling", "Normalization"):
            last[int(layer.output_shape[1])] = layer.name
    return sorted(last.items(), reverse=True)
