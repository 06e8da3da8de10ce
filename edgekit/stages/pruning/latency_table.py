"""What layers of each size cost in milliseconds, measured on the target's runtime: for `target_latency_ratio`.

A table of measured shapes, as in ZipLM (arXiv:2302.04089), because kernels do not take the time that their operations
would suggest. All models are measured in turns, so that whatever else the machine does meets all of them alike.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ...artifact import Progress
from ...atomic import write_bytes
from ...ondevice.profiler.identity import identify
from ...ondevice.runtimes import load_runtime
from ...ondevice.runtimes.buckets import Predict
from ...shape import LayerShape, Shape
from .budget import head_sizes, neuron_sizes
from .timed_models import make_model

#: How often each model is timed at each length, and how often it runs before.
TURNS, WARM_UP = 100, 3
#: Lengths that fewer of the texts have are left out of the table.
LEAST_SHARE = 0.05
#: The models' token tables have so many rows: a lookup costs the same in a larger one.
VOCABULARY = 64
#: Layers of one size in a measured model: enough that its weights crowd the processor's caches as a model's do.
REPEATED = 3
#: Converters trace a model with texts of so many tokens.
TRACED = 16


@dataclass(frozen=True)
class Place:
    """What a table is measured with: the target's runtime, and INT8 or float32."""

    runtime: str
    device: str
    threads: int
    int8: bool


@dataclass(frozen=True)
class LatencyTable:
    """Milliseconds for a text, the mean over the lengths that texts are padded to, each as often as texts have it.

    `heads` and `neurons` are by a layer's attention width and by its neurons: of a model with `REPEATED` layers of that
    size, the other part at its smallest, before a smallest layer; `last_heads` and `last_neurons` of one with that
    layer alone. Sizes between two of them lie on a line. `smallest` and `one` have smallest layers only, as many as
    those and one. `whole` is the model as it came. Where the target's device is not here, `device` says what was
    measured instead.
    """

    runtime: str
    version: str
    device: str
    threads: int
    int8: bool
    processor: str
    lengths: Mapping[str, float]
    whole: float
    smallest: float
    one: float
    heads: Mapping[str, float]
    neurons: Mapping[str, float]
    last_heads: Mapping[str, float]
    last_neurons: Mapping[str, float]

    @property
    def fixed(self) -> float:
        """Nothing: what does not hang on the layers is counted with the last one."""
        return 0.0

    def layer(self, layer: LayerShape, last: bool) -> float:
        """A layer in the middle; or the last one, with all that is not layers: of it one token alone may be read."""
        width, ffn = layer.heads * layer.head_dim, layer.ffn
        if not last:
            layers = _between(self.heads, width) + _between(self.neurons, ffn) - self.smallest - self.one
            return layers / REPEATED
        return _between(self.last_heads, width) + _between(self.last_neurons, ffn) - self.one

    def __str__(self) -> str:
        lengths = ", ".join(f"{100 * share:.0f} % to {length}" for length, share in self.lengths.items())
        return (
            f"{self.runtime} {self.version} on {self.device}, {self.threads} thread{'s' * (self.threads > 1)}, "
            f"{'INT8' if self.int8 else 'float32'}, texts padded {lengths} tokens, on this machine's {self.processor}"
        )


def _between(points: Mapping[str, float], width: int) -> float:
    """A size's milliseconds on the line between those that were measured; more is never counted as less."""
    sizes = sorted((int(size), ms) for size, ms in points.items())
    return float(np.interp(width, [size for size, _ in sizes], np.maximum.accumulate([ms for _, ms in sizes])))


def padded_lengths(token_counts: Sequence[int], buckets: Sequence[int]) -> dict[int, float]:
    """What texts of so many tokens are padded to, with the share of each; lengths that few have are left out."""
    at = np.searchsorted(buckets, np.asarray(token_counts))
    shares = np.bincount(np.minimum(at, len(buckets) - 1), minlength=len(buckets)) / len(token_counts)
    kept = {bucket: float(share) for bucket, share in zip(buckets, shares, strict=True) if share >= LEAST_SHARE}
    return {bucket: share / sum(kept.values()) for bucket, share in kept.items()}


def measured_table(
    kept: Path, whole: Shape, end: Shape, lengths: Mapping[int, float], place: Place, progress: Progress
) -> LatencyTable:
    """The table of a step, from the file `kept` where the step has measured it already.

    `whole` is the model as it came, `end` has the widths that it will have and the same layers.
    """
    try:
        return LatencyTable(**json.loads(kept.read_text(encoding="utf-8")))
    except FileNotFoundError:
        pass
    models = _models(whole, end)
    ms, device = measure(models, lengths, place, progress)
    parts: dict[str, dict[str, float]] = {"heads": {}, "neurons": {}, "last_heads": {}, "last_neurons": {}}
    for kind, size in (name.split() for name in models if " " in name):
        parts[kind][size] = ms[f"{kind} {size}"]
    runtime = load_runtime(place.runtime)
    table = LatencyTable(
        runtime=place.runtime,
        version=str(runtime.version()),
        device=device,
        threads=place.threads,
        int8=place.int8,
        processor=processor(),
        lengths={str(length): share for length, share in lengths.items()},
        whole=ms["whole"],
        smallest=ms["smallest"],
        one=ms["one"],
        **parts,
    )
    write_bytes(kept, json.dumps(asdict(table)).encode())
    return table


def processor() -> str:
    """The processor here, which a table holds for."""
    return str(identify()["cpu"] or platform.machine())


def measured_ratio(table: LatencyTable, whole: Shape, shape: Shape, device: str, progress: Progress) -> float:
    """The share of `whole`'s latency that `shape` has, both measured now, as the table was."""
    lengths = {int(length): share for length, share in table.lengths.items()}
    place = Place(table.runtime, device, table.threads, table.int8)
    ms, _ = measure({"whole": whole, "shape": shape}, lengths, place, progress)
    return ms["shape"] / ms["whole"]


def _models(whole: Shape, end: Shape) -> dict[str, Shape]:
    """The shapes to measure, by what they stand for."""
    first = end.layers[0]
    heads = {(size, x.head_dim) for x in end.layers for size in _some(head_sizes(x.heads))}
    neurons = {size for x in end.layers for size in _some(neuron_sizes(x.ffn))}
    few = min(heads, key=lambda size: size[0] * size[1])
    many = max(heads, key=lambda size: size[0] * size[1])
    least = replace(first, heads=few[0], head_dim=few[1], ffn=min(neurons))

    def attention(size: tuple[int, int]) -> LayerShape:
        return replace(least, heads=size[0], head_dim=size[1])

    layers = {"one": (least,), "smallest": (least,) * (REPEATED + 1)}
    for size in sorted(heads):
        layers[f"heads {size[0] * size[1]}"] = (*[attention(size)] * REPEATED, least)
    for ffn in sorted(neurons):
        layers[f"neurons {ffn}"] = (*[replace(least, ffn=ffn)] * REPEATED, least)
    for size in (few, many):
        layers[f"last_heads {size[0] * size[1]}"] = (attention(size),)
    for ffn in (min(neurons), max(neurons)):
        layers[f"last_neurons {ffn}"] = (replace(least, ffn=ffn),)
    return {"whole": whole, **{name: end.with_layers(of) for name, of in layers.items()}}


def _some(sizes: list[int]) -> list[int]:
    """Every second size and the smallest; what the others take lies between them."""
    return [*sizes[:-1:2], sizes[-1]]


def measure(
    models: Mapping[str, Shape], lengths: Mapping[int, float], place: Place, progress: Progress
) -> tuple[dict[str, float], str]:
    """Milliseconds of each shape by its name, and the device: the CPU where the target's is not here."""
    runtime = load_runtime(place.runtime)
    device = place.device if runtime.has_device(place.device) else "CPU"
    buckets = sorted(lengths)
    shapes = {
        name: replace(shape, vocabulary=VOCABULARY, positions=max(TRACED, *buckets), pad_id=0, separator=None)
        for name, shape in models.items()
    }
    distinct = list(dict.fromkeys(shapes.values()))
    with TemporaryDirectory() as folder:
        loaded: list[Predict] = []
        for number, shape in enumerate(distinct):
            progress(number, len(distinct), "shapes", f"preparing to time shapes on {place.runtime}")
            path = Path(folder) / str(number)
            path.mkdir()
            model = make_model(shape, place.runtime, buckets, place.int8, path)
            loaded.append(runtime.load(model, buckets, device, place.threads))
        times = dict(zip(distinct, in_turns(loaded, buckets), strict=True))
    means = {shape: sum(lengths[bucket] * ms for bucket, ms in of.items()) for shape, of in times.items()}
    return {name: means[shape] for name, shape in shapes.items()}, device


def in_turns(models: Sequence[Predict], buckets: Sequence[int]) -> list[dict[int, float]]:
    """The lower quartile of each model's milliseconds at each length: what else the machine does only ever adds."""
    inputs = {bucket: (np.ones((1, bucket), np.int32), np.ones((1, bucket), np.int32)) for bucket in buckets}
    samples: list[dict[int, list[float]]] = [{bucket: [] for bucket in buckets} for _ in models]
    for turn in range(-WARM_UP, TURNS):
        for predict, of in zip(models, samples, strict=True):
            for bucket, given in inputs.items():
                began = time.perf_counter()
                predict(*given)
                if turn >= 0:
                    of[bucket].append(1000 * (time.perf_counter() - began))
    return [{bucket: float(np.quantile(values, 0.25)) for bucket, values in of.items()} for of in samples]
