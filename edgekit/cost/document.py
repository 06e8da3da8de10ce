"""The cost document: what `edgekit cost --json` prints and `edgekit report` draws. Kind "edgekit-cost", schema 1.

One document answers one question, told apart by `question`: "edge-or-cloud" (EdgeOrCloud) or "distillation"
(Distillation). Money is in US dollars as each key's name says; `currency` is only how the user wants it shown:
shown = usd x per_usd. A month is 1/12 of 365 days (730 hours), three years are 36 of them. Unknown is null, never 0.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, cast

from pydantic import Field
from typing_extensions import TypedDict  # typing's own says too little of itself to pydantic before Python 3.12

from ..documents import Document, check_kind
from ..errors import ProfileError
from . import KIND, SCHEMA

Positive = Annotated[float, Field(gt=0)]
Provenance = Literal["measured", "quoted", "given", "default"]


class InputRow(TypedDict):
    """One input. `low` and `high` are the range that tornado and Monte-Carlo take it through; null: it is fixed."""

    name: str  #: the option and the scenario's key: edge_device_usd
    side: Literal["volume", "edge", "cloud", "build", "requirement"]
    label: str  #: in words: "device price"
    value: float | str
    unit: str  #: USD, USD/h, predictions/s, share, W …; empty for a choice
    low: float | None
    high: float | None
    range: str  #: where the range comes from: "95 % interval", "given", "assumed ±20 %", "fixed"
    provenance: Provenance
    source: str  #: "profile 0123456789ab, Offline", "AWS price list, 2026-04", "option", ""


class Part(TypedDict):
    """One category of a side's cost: one layer of its stack."""

    category: str  #: instances, egress, load_balancer, storage | device, failures, energy_busy, energy_idle, fleet …
    label: str
    usd_per_month: float
    usd_per_million: float
    usd_3_year: float


class SideRow(TypedDict):
    """What one side costs at the volume asked for. The parts add up to the totals."""

    name: str  #: "g4dn.xlarge, us-east-1, on demand"; "distilbert-int8-raspberrypi on Raspberry Pi 5 …"
    units: float  #: devices; for the cloud instances, as the mean over the day
    peak_units: float
    unit_name: Literal["device", "instance"]
    utilisation: float  #: of all units, over the day; follows from volume and units
    usd_per_month: float
    usd_per_million: float
    usd_3_year: float
    parts: list[Part]
    unknown: list[str]  #: what could not be counted: "energy: no power reading …"; then totals are without it
    upfront_usd: float  #: paid before the first prediction
    kwh_per_month: float | None
    kwh_3_year: float | None
    kg_co2e_per_month: float | None
    kg_co2e_3_year: float | None


class Check(TypedDict):
    """A requirement against what was measured."""

    name: Literal["latency", "accuracy"]
    side: Literal["edge", "cloud"]
    limit: float
    value: float | None
    unit: str  #: ms, share
    state: Literal["pass", "fail", "unknown"]
    source: str  #: "SingleStream p99, profile 0123456789ab" or what would tell


class CurvePoint(TypedDict):
    """Both sides at one volume."""

    per_day: Positive
    edge_usd_per_million: float
    cloud_usd_per_million: float


class BreakEven(TypedDict):
    """A volume at which the cheaper side changes."""

    per_day: Positive
    cheaper_below: Literal["edge", "cloud"]
    cheaper_above: Literal["edge", "cloud"]
    step: bool  #: true: the costs jump past each other there, where one more device or instance is needed


class TornadoRow(TypedDict):
    """One input moved alone through its range; the rows with the widest swing first."""

    input: str
    label: str
    unit: str
    value: float
    low: float
    high: float
    usd_3_year_saving_at_low: float
    usd_3_year_saving_at_high: float
    usd_3_year_swing: float
    flips: bool  #: the cheaper side changes within the range


class Histogram(TypedDict):
    """`counts` has one entry less than `edges`."""

    edges: list[float]
    counts: list[int]


class MonteCarlo(TypedDict):
    """All inputs moved together, each drawn from a triangle over its range with its value as the mode."""

    draws: int
    seed: int
    distribution: str
    quantiles: dict[str, dict[str, float]]  #: figure -> {"p5", "p25", "p50", "p75", "p95"}
    usd_3_year_saving_histogram: Histogram
    share_edge_cheaper: float


class Flip(TypedDict):
    """What one input must become for the verdict to change, all else as it is."""

    input: str
    label: str
    unit: str
    value: float
    flips_at: float  #: in few digits, rounded away from the value: entered again, it flips the verdict
    change: float  #: flips_at / value - 1


class Verdict(TypedDict):
    """The answer."""

    cheaper: Literal["edge", "cloud", "neither"]
    sentence: str
    flips: list[Flip]  #: the nearest first


class Currency(TypedDict):
    """How money is shown."""

    label: str
    per_usd: Positive


class Mark(TypedDict):
    """Why not to trust a profile that this rests on."""

    side: str  #: edge, cloud, teacher, student
    profile: str  #: its id
    mark: str  #: "noisy: …", "throttled: …", "partial: …"


class Frame(TypedDict):
    """What both questions have in common."""

    schema: int
    kind: str
    id: str  #: 12 hex digits of the sha256 of the rest, without `created`
    created: str  #: UTC, ISO 8601
    edgekit: str
    title: str
    currency: Currency
    inputs: list[InputRow]
    marks: list[Mark]
    notes: list[str]


class EdgeOrCloud(Frame):
    """`edgekit cost --edge … --cloud …`."""

    question: Literal["edge-or-cloud"]
    per_day: Positive
    traffic: list[float] | None  #: predictions in each hour of the day, where a curve was given
    edge: SideRow
    cloud: SideRow
    usd_per_month_saving: float  #: cloud less edge; negative where the edge costs more
    usd_3_year_saving: float
    tied_up_usd: float  #: what the edge ties up in 3 years: devices and builds, up front and later
    roi: float | None  #: 3-year saving / tied_up_usd; null: nothing is tied up
    payback_months: float | None  #: up-front money / monthly saving in running cost; null: no saving in 3 years
    break_even: BreakEven | None  #: the nearest one to the volume asked for
    break_evens: list[BreakEven]  #: nearest one below and nearest one above, within a factor of 1,000
    curve: list[CurvePoint]  #: rising volume, evenly in its logarithm; per_day is one of them
    checks: list[Check]
    tornado: list[TornadoRow]
    monte_carlo: MonteCarlo
    verdict: Verdict


class ModelRow(TypedDict):
    """Teacher or student on the machine."""

    name: str
    per_second: float
    usd_per_million: float
    usd_per_million_low: float | None  #: from the throughput's interval
    usd_per_million_high: float | None
    accuracy: dict[str, float]


class Claim(TypedDict):
    """What others say; not measured here."""

    claim: str
    source: str
    reviewed: bool | None  #: by peers; null: not known here


class Distillation(Frame):
    """`edgekit cost --teacher-profile … --student-profile …`: does distilling pay on the same machine?"""

    question: Literal["distillation"]
    teacher: ModelRow
    student: ModelRow
    speedup: float
    reduction: float  #: 1 - student / teacher, as a share
    reduction_low: float | None
    reduction_high: float | None
    retention: float | None
    per_day: float | None
    usd_per_month_saving: float | None  #: where a volume is given
    build_usd: float | None  #: of one build; null: nobody gave its hours
    payback_months: float | None
    usd_3_year_saving: float | None  #: less the builds
    claims: list[Claim]
    sentence: str


def check_cost(document: Document, source: str) -> EdgeOrCloud | Distillation:
    """A parsed document as one of the two types; raises ProfileError for anything else. `source` starts the line."""
    check_kind(document, source, KIND, SCHEMA, "a cost document", "run it again")
    types: dict[Any, type[Any]] = {"edge-or-cloud": EdgeOrCloud, "distillation": Distillation}
    question = document.get("question")
    if not isinstance(question, str) or question not in types:
        raise ProfileError(f"{source}: key 'question': found {question!r:.60}, expected {' or '.join(types)}")
    _check_finite(document, source)
    from pydantic import TypeAdapter, ValidationError

    try:
        checked = cast("EdgeOrCloud | Distillation", TypeAdapter(types[question]).validate_python(document))
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "missing":
            raise ProfileError(f"{source}: key '{key}' is missing") from None
        raise ProfileError(f"{source}: key '{key}': found {fault['input']!r:.60}; {fault['msg']}") from None
    if checked["question"] == "edge-or-cloud":
        _check_draws(checked["monte_carlo"], source)
    return checked


def _check_finite(document: Any, source: str) -> None:
    """Python reads NaN, Infinity and 1e400 from JSON; no figure of a cost is one."""
    rest: list[tuple[str, Any]] = [("", document)]
    while rest:
        key, value = rest.pop()
        if isinstance(value, float) and not math.isfinite(value):
            raise ProfileError(f"{source}: key '{key}': found {value}, expected a finite number")
        parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        rest += [(f"{key}.{name}" if key else str(name), part) for name, part in parts]


def _check_draws(draws: MonteCarlo, source: str) -> None:
    histogram = draws["usd_3_year_saving_histogram"]
    edges, counts = histogram["edges"], histogram["counts"]
    if len(edges) != len(counts) + 1 or min(counts, default=0) < 0 or not any(counts) or edges != sorted(edges):
        raise ProfileError(
            f"{source}: key 'monte_carlo.usd_3_year_saving_histogram': found {len(edges)} edges and {len(counts)} "
            "counts, expected rising edges, one more than counts, and counts of draws"
        )
    saving = draws["quantiles"].get("usd_3_year_saving", {})
    lacking = [name for name in ("p5", "p50", "p95") if name not in saving]
    if lacking:
        raise ProfileError(f"{source}: key 'monte_carlo.quantiles.usd_3_year_saving.{lacking[0]}' is missing")
