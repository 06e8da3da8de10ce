"""Counts and histograms, in Prometheus' text format 0.0.4.

Format: https://prometheus.io/docs/instrumenting/exposition_formats/ (text-based format). Units are base units: seconds,
bytes, degrees Celsius.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Any

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: From a tiny model on a fast core to a transformer on a slow one, with a queue before it.
LATENCY_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
#: Probabilities of the chosen label; fine where a threshold would be set.
CONFIDENCE_BOUNDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)

#: What a counter or histogram hands over to its successor: plain JSON.
State = dict[str, Any]


class Counter:
    """Counts that only grow, by the values of its labels."""

    def __init__(self, name: str, text: str, labels: Sequence[str] = ()) -> None:
        self.name, self.text, self.labels = name, text, tuple(labels)
        self.values: dict[tuple[str, ...], float] = {} if labels else {(): 0}

    def add(self, *values: str, by: float = 1) -> None:
        """Count one more, or `by` more."""
        self.values[values] = self.values.get(values, 0) + by

    def state(self) -> State:
        """All counts."""
        return {"labels": list(self.labels), "counts": [[list(key), count] for key, count in self.values.items()]}

    def absorb(self, state: State) -> None:
        """Add the counts of another release's worker; those that are counted otherwise there are left out."""
        if state.get("labels") == list(self.labels):
            for key, count in state["counts"]:
                self.add(*key, by=count)

    def lines(self) -> Iterable[str]:
        """Its lines of the text format."""
        return family(self.name, "counter", self.text, ((self.labels, *item) for item in self.values.items()))


class Histogram:
    """How many observations are at most each bound, and their sum."""

    def __init__(self, name: str, text: str, bounds: Sequence[float]) -> None:
        self.name, self.text, self.bounds = name, text, tuple(bounds)
        self.counts = [0] * (len(bounds) + 1)  # each bucket's own; the last is beyond every bound
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def state(self) -> State:
        """All counts."""
        return {"bounds": list(self.bounds), "counts": list(self.counts), "sum": self.total}

    def absorb(self, state: State) -> None:
        """Add the counts of another release's worker, where its bounds are the same."""
        if state.get("bounds") == list(self.bounds):
            self.counts = [mine + state["counts"][position] for position, mine in enumerate(self.counts)]
            self.total += state["sum"]

    def lines(self) -> Iterable[str]:
        """Its lines of the text format, whose buckets are cumulative."""
        yield f"# HELP {self.name} {self.text}"
        yield f"# TYPE {self.name} histogram"
        seen = 0
        for position, bound in enumerate([*map(_number, self.bounds), "+Inf"]):
            seen += self.counts[position]
            yield f'{self.name}_bucket{{le="{bound}"}} {seen}'
        yield f"{self.name}_sum {_number(self.total)}"
        yield f"{self.name}_count {seen}"


class Metrics:
    """All that a worker counts."""

    def __init__(self) -> None:
        self.requests = Counter("edgekit_requests_total", "Requests answered.", ("path", "status"))
        self.errors = Counter("edgekit_errors_total", "Requests that were refused or failed.", ("reason",))
        self.predictions = Counter("edgekit_predictions_total", "Texts answered with this label.", ("label",))
        self.truncated = Counter("edgekit_truncated_texts_total", "Texts too long for the model, cut at their end.")
        self.latency = Histogram(
            "edgekit_predict_request_seconds", "From a whole /predict request to its response.", LATENCY_BOUNDS
        )
        self.inference = Histogram("edgekit_inference_seconds", "Tokenizer and model, for one text.", LATENCY_BOUNDS)
        self.confidence = Histogram(
            "edgekit_confidence", "Probability of the label that was answered.", CONFIDENCE_BOUNDS
        )
        self._all: tuple[Counter | Histogram, ...] = (
            self.requests, self.errors, self.predictions, self.truncated, self.latency, self.inference, self.confidence
        )  # fmt: skip

    def state(self) -> State:
        """What a successor goes on counting from."""
        return {each.name: each.state() for each in self._all}

    def absorb(self, state: State) -> None:
        """Go on counting from a predecessor's state; what is not known here is left out."""
        for each in self._all:
            each.absorb(state.get(each.name, {}))

    def lines(self) -> Iterable[str]:
        """The lines of all of them."""
        for each in self._all:
            yield from each.lines()


def since(later: State, earlier: State) -> State:
    """What was counted between two states of the same worker."""
    grown: State = {}
    for name, now in later.items():
        before = earlier[name]
        if "bounds" in now:
            counts = [count - before["counts"][position] for position, count in enumerate(now["counts"])]
            grown[name] = {**now, "counts": counts, "sum": now["sum"] - before["sum"]}
        else:
            old = {tuple(key): count for key, count in before["counts"]}
            grown[name] = {**now, "counts": [[key, count - old.get(tuple(key), 0)] for key, count in now["counts"]]}
    return grown


def gauge(name: str, text: str, value: float | None) -> Iterable[str]:
    """The lines of a value that goes up and down; none where it is not known."""
    return [] if value is None else family(name, "gauge", text, [((), (), value)])


def info(name: str, text: str, facts: dict[str, str]) -> Iterable[str]:
    """The lines of facts: a gauge that is always 1, with the facts as its labels."""
    return family(name, "gauge", text, [(tuple(facts), tuple(facts.values()), 1)])


def family(
    name: str, kind: str, text: str, samples: Iterable[tuple[Sequence[str], Sequence[str], float]]
) -> Iterable[str]:
    """The lines of one metric; a sample is its labels' names, their values, and its value."""
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"
    for labels, values, value in samples:
        pairs = ",".join(map(_pair, labels, values))
        yield f"{name}{{{pairs}}} {_number(value)}" if pairs else f"{name} {_number(value)}"


def _pair(label: str, value: str) -> str:
    escaped = value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return f'{label}="{escaped}"'


def _number(value: float) -> str:
    return repr(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))
