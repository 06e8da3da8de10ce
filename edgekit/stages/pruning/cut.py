"""What one round of pruning takes out of an encoder: by the recipe's shares, or by what a budget allows."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...artifact import Progress
from ...atomic import write_bytes
from ...errors import ConfigError
from ...shape import LayerShape, Shape
from ...steps import Prune
from ..learning.layers import kept_count
from ..network.encoder import Encoder
from ..network.factorise import factorise
from ..network.narrow import narrow
from ..network.shrink import keep_heads, keep_layers, keep_neurons
from ..text.splits import Split
from .budget import Costs, Sizes, best_layers
from .checks import budget_refusal, end_widths
from .importance import most_important, taylor_importance
from .sensitivity import measure_sizes

#: FFN neurons are kept in groups of this size: vector units work on so many numbers at least.
NEURONS = 8


#: How often a shape is sought so that the measured ratio meets the budget, and how near is near enough.
SEARCHES, NEAR, OVER = 4, 0.93, 1.02


@dataclass(frozen=True)
class Way:
    """How far a round goes: `part` of the way, 1 is the end. Shares are those of the model as it came, `whole`.

    `costs` are a budget's; `measure`, of latencies, tells the ratio that a model of these layers has when it is run.
    """

    options: Prune
    whole: Shape
    part: float
    costs: Costs | None = None
    measure: Callable[[Sequence[LayerShape]], float] | None = None

    def share(self, share: float) -> float:
        """So much of it stays after this round; each round takes the same share of what there is."""
        return float(share**self.part)

    def width(self, start: int, end: int) -> int:
        """A width on its way."""
        return end if self.part == 1 else 8 * round(start * self.share(end / start) / 8)


def cut(
    model: Encoder, numbers: list[int], training: Split, way: Way, kept: Path, progress: Progress
) -> tuple[Encoder, list[int]]:
    """The model after a round, before it recovers, and the numbers that its layers had in the whole.

    `numbers` are those of the model's layers now. The file `kept` holds what was found within a budget, so that a
    round that is taken up again does not measure anew. Raises ConfigError for a budget that nothing fits.
    """
    options, samples = way.options, way.options.importance_samples
    if way.costs:
        model, numbers = _within(model, numbers, training, way, way.costs, kept, progress)
    else:
        model, numbers = _by_shares(model, numbers, training, way)
    hidden, embedding = end_widths(options, way.whole)
    width = way.width(way.whole.hidden, hidden)
    if width < model.shape.hidden:
        model = narrow(model, training, width, samples)
    if embedding is not None and options.embedding is not None:
        width = way.width(way.whole.embedding or way.whole.hidden, embedding)
        if width < (model.shape.embedding or model.shape.hidden):
            model = factorise(model, training.token_ids, width)
    return model, numbers


def _by_shares(model: Encoder, numbers: list[int], training: Split, way: Way) -> tuple[Encoder, list[int]]:
    """Layers first; heads and neurons are then scored in the encoder that remains."""
    options, samples = way.options, way.options.importance_samples
    count = kept_count(len(way.whole.layers), way.share(options.layers))
    if count < len(numbers):
        stay = most_important(taylor_importance(model, training, samples).layers, count)
        model, numbers = keep_layers(model, stay), [numbers[at] for at in stay]
    if options.heads < 1 or options.ffn < 1:
        scored = taylor_importance(model, training, samples)
        whole = [way.whole.layers[number] for number in numbers]
        counts = [
            (kept_count(x.heads, way.share(options.heads)), kept_count(x.ffn, way.share(options.ffn), NEURONS))
            for x in whole
        ]
        heads = [most_important(s, heads) for s, (heads, _) in zip(scored.heads, counts, strict=True)]
        neurons = [most_important(s, ffn) for s, (_, ffn) in zip(scored.neurons, counts, strict=True)]
        model = keep_neurons(keep_heads(model, heads), neurons)
    return model, numbers


def _within(
    model: Encoder, numbers: list[int], training: Split, way: Way, costs: Costs, kept: Path, progress: Progress
) -> tuple[Encoder, list[int]]:
    """The layers, heads and neurons that lose least within the budget."""
    scored = taylor_importance(model, training, way.options.importance_samples)
    try:
        found = [LayerShape(**x) if x else None for x in json.loads(kept.read_text(encoding="utf-8"))]
    except FileNotFoundError:
        whole = [way.whole.layers[number] for number in numbers]
        sizes = measure_sizes(model, training, scored, whole, progress)
        progress(0, 1, "shapes", "looking for the best shape within the budget")
        found = find(sizes, costs, way)
        write_bytes(kept, json.dumps([vars(x) if x else None for x in found]).encode())
    heads = [most_important(s, x.heads if x else len(s)) for s, x in zip(scored.heads, found, strict=True)]
    neurons = [most_important(s, x.ffn if x else len(s)) for s, x in zip(scored.neurons, found, strict=True)]
    stay = [at for at, layer in enumerate(found) if layer]
    return keep_layers(keep_neurons(keep_heads(model, heads), neurons), stay), [numbers[at] for at in stay]


def find(sizes: Sequence[Sizes], costs: Costs, way: Way) -> list[LayerShape | None]:
    """For each layer what it becomes, None where it goes. Raises ConfigError where nothing fits.

    Layers alone do not tell all of a model's latency, so at the end of the way the shape is measured too. Where that
    is another ratio than the table's, the table is asked for more or less; the slowest shape that keeps to the budget
    is taken, or the fastest where none does.
    """
    assert way.options.budget is not None
    wanted = asked = way.share(way.options.budget[1])
    tried: list[tuple[float, list[LayerShape | None]]] = []
    for _ in range(SEARCHES if way.measure and way.part == 1 else 1):
        found = best_layers(sizes, costs, asked)
        if found is None or found in [shape for _, shape in tried]:
            break
        ratio = way.measure([layer for layer in found if layer]) if way.measure and way.part == 1 else wanted
        tried.append((ratio, found))
        if NEAR * wanted <= ratio <= OVER * wanted:
            break
        asked *= wanted / ratio
    if not tried:
        raise ConfigError(budget_refusal(way.options, costs, way.whole.layers))
    within = [one for one in tried if one[0] <= OVER * wanted]
    return max(within, key=lambda one: one[0])[1] if within else min(tried, key=lambda one: one[0])[1]
