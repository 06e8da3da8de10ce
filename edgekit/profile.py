"""A profile: what was measured, where, by what, how sure that is. `ondevice/profiler` writes it, this reads it."""

from __future__ import annotations

import base64
import zlib
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from .documents import Document, check_kind, read_document
from .errors import ConfigError, ProfileError
from .ondevice.profiler.document import document_id
from .tomlfile import validate

SCHEMA = 1
KIND = "edgekit-profile"
Scenario = Literal["SingleStream", "MultiStream", "Server", "Offline"]
Floats = np.ndarray[tuple[int], np.dtype[np.float64]]
Reading = Annotated[tuple[float, float], Field(strict=False)]  # JSON has no tuples


class Part(BaseModel):
    """Immutable, strict, no unknown keys: another schema is refused, not guessed at."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, defer_build=True)


class Interval(Part):
    """A figure and the 95 % interval that the bootstrap gives it; the ends are None where one run cannot tell."""

    value: float
    low: float | None = None
    high: float | None = None


class Subject(Part):
    """What was profiled."""

    kind: Literal["bundle", "model"]
    name: str
    digest: Annotated[str, Field(description="sha256 of the model file, with an IR its .xml and .bin")]
    format: Literal["tflite", "ir", "onnx"]
    model_bytes: int
    runtime: Annotated[str, Field(description="the module of ondevice/runtimes")]
    runtime_package: str
    runtime_version: str
    device: str
    threads: int
    target: Annotated[str | None, Field(description="the bundle's target in one sentence")] = None
    recipe: Annotated[str | None, Field(description="the bundle's recipe in one sentence")] = None
    sample_task: bool = False
    accuracy: Annotated[dict[str, float], Field(description="split -> accuracy, from the bundle's manifest")] = {}
    retention: Annotated[dict[str, float], Field(description="split -> retention, from the bundle's manifest")] = {}
    metric: Annotated[str | None, Field(description="what retention is of; None of older profiles: accuracy")] = None


class Samples(Part):
    """What it was fed."""

    source: Annotated[str, Field(description="texts of the bundle; a file; random values, seed 0")]
    count: int
    digest: str


class Settings(Part):
    """How the run was asked for."""

    seed: int
    min_seconds: float
    min_queries: int
    warmup_seconds: float
    idle_began_unix: Annotated[float | None, Field(description="when the idle stretch before the run began")] = None
    idle_seconds: Annotated[float, Field(description="its length")] = 0.0
    affinity: Annotated[list[int], Field(description="the processors that it ran on")]
    qps: float | None = None
    sla_ms: float | None = None


class MachineState(Part):
    """What changes while it runs. None: this machine does not say."""

    temperature_c: float | None
    frequency_mhz: Annotated[float | None, Field(description="mean over the processors used")]
    throttled: Annotated[list[str], Field(description="causes that hold now, in words")]
    throttle_events: Annotated[int | None, Field(description="x86 thermal_throttle counters, summed")]
    load_1m: float | None
    steal_percent: Annotated[float | None, Field(description="since the state before; None at the first")]
    other_load: Annotated[float | None, Field(description="processors that others kept busy since then")] = None


class Machine(Part):
    """Where it ran."""

    id: Annotated[str, Field(description="12 hex digits of a hash of machine-id; tells two boards of a kind apart")]
    board: str | None
    soc: str | None
    os: str
    kernel: str
    arch: str
    cpu: str | None
    cores: int
    memory_mb: float | None
    python: str
    governor: str | None
    virtual: Annotated[str | None, Field(description="kvm, qemu-user, docker …: times of such a machine are its own")]
    before: MachineState
    after: MachineState
    marks: Annotated[list[str], Field(description="why not to trust this run: noisy: …, throttled: …, emulated: …")]


class Latency(Part):
    """Milliseconds per query, and the samples that they were computed from."""

    p50: Interval
    p90: Interval
    p95: Interval
    p99: Interval
    p999: Interval
    mean: Interval
    min: float
    max: float
    raw: Annotated[str, Field(description="base64 of zlib of little-endian uint64 nanoseconds, in order of completion")]

    def samples_ms(self) -> Floats:
        """Every query's latency in milliseconds. Raises ProfileError where they are damaged."""
        try:
            packed = zlib.decompress(base64.b64decode(self.raw, validate=True))
            return np.frombuffer(packed, "<u8").astype(np.float64) / 1e6
        except (ValueError, zlib.error):
            raise ProfileError("the latency's raw samples are damaged") from None


class SensorWindow(Part):
    """One sensor over one scenario. Gross is all that the scope drew; net is without what it draws at idle."""

    sensor: str
    average_w: Interval | None
    peak_w: float | None
    energy_mj: Annotated[Interval | None, Field(description="gross, per inference")]
    net_energy_mj: Annotated[Interval | None, Field(description="idle-subtracted, per inference")]
    seconds: float
    inferences: int
    readings: int
    problems: list[str]


class Point(Part):
    """One second, about, of a sustained run."""

    second: float
    p50_ms: float | None
    throughput_per_s: float
    temperature_c: float | None
    frequency_mhz: float | None
    power_w: float | None
    throttled: list[str]


class ServerSearch(Part):
    """One step of the search for the highest rate that keeps the SLA."""

    qps: float
    p99_ms: float
    ok: bool


class ScenarioResult(Part):
    """One MLPerf scenario. Its headline: SingleStream p90, MultiStream p99, Server qps, Offline samples a second."""

    queries: int
    samples_per_query: int
    seconds: float
    began_unix: float
    inferences: int
    throughput_per_s: Annotated[Interval, Field(description="inferences (samples) a second")]
    latency_ms: Latency
    energy: list[SensorWindow]
    driver: Annotated[Literal["edgekit", "mlperf-loadgen"], Field(description="what issued the queries")] = "edgekit"
    partial: Annotated[str | None, Field(description="why it ended early")] = None
    qps: Annotated[float | None, Field(description="Server: the rate asked for, or the highest one found")] = None
    sla_ms: float | None = None
    sla_met: bool | None = None
    search: list[ServerSearch] = []
    series: Annotated[list[Point], Field(description="of a sustained run")] = []


class Startup(Part):
    """From nothing to an answer, in milliseconds."""

    cold_start_ms: Annotated[Interval | None, Field(description="process start to first answer, in fresh processes")]
    cold_starts: int
    load_ms: Annotated[float, Field(description="model load in the measuring process, its runtime already imported")]
    import_ms: Annotated[float, Field(description="import of the runtime")]
    first_ms: Annotated[float, Field(description="the first answer after the load")]


class Memory(Part):
    """Resident sets in MB (10^6 bytes). None: this kernel does not say."""

    idle_rss_mb: Annotated[float | None, Field(description="Python and numpy, before the runtime")]
    idle_pss_mb: float | None
    runtime_rss_mb: Annotated[float | None, Field(description="what the runtime's import alone adds")]
    loaded_rss_mb: float | None
    loaded_pss_mb: float | None
    peak_rss_mb: float | None
    peak_method: Annotated[str, Field(description="VmHWM, reset before the run; or sampled; or since process start")]


class SensorInfo(Part):
    """A sensor that was read."""

    name: Annotated[str, Field(description="unique within the profile: rapl package-0")]
    module: Annotated[str, Field(description="rapl, ina3221, ina2xx, pmic, nvml, battery, external, given")]
    source: Annotated[str, Field(description="the file, command or log that was read")]
    scope: Annotated[str, Field(description="package, board input, board rails, device …: what its watts include")]
    method: Annotated[str, Field(description="counter read at 10 Hz; polled at 10 Hz; as the user says")]
    idle_w: Interval | None
    idle_seconds: float
    readings: int
    problems: list[str]
    series: Annotated[list[Reading], Field(description="unix seconds, watts")] = []


class Energy(Part):
    """What the run drew. `energy_mj` is None without a sensor: unknown is not zero."""

    energy_mj: Annotated[Interval | None, Field(description="gross per inference: headline sensor and scenario")]
    net_energy_mj: Interval | None
    sensor: Annotated[str | None, Field(description="the headline sensor: the widest scope that read without fault")]
    scenario: Scenario | None
    sensors: list[SensorInfo]
    advice: Annotated[str | None, Field(description="which sensor would do, or the line that grants permission")]
    problems: list[str]


class Operator(Part):
    """One kind of operator, over one inference."""

    op: str
    calls: int
    ms: float
    share: Annotated[float, Field(description="of the sum over operators, 0 to 1")]


class Operators(Part):
    """Per-operator times by the runtime's own profiler; measured apart, because that slows the model down."""

    source: str
    fed: Annotated[str, Field(description="what was inferred, where that differs from the scenarios")] = ""
    inferences: int
    total_ms: float
    rows: list[Operator]


class Profile(Part):
    """One run of `python3 -m ondevice profile`."""

    format_version: Annotated[Literal[1], Field(alias="schema")]
    kind: Literal["edgekit-profile"]
    id: Annotated[str, Field(description="12 hex digits of the sha256 of the rest of the document")]
    created: Annotated[str, Field(description="UTC, 2026-11-21T23:10:00Z")]
    seconds: float
    partial: Annotated[str | None, Field(description="why it ended early; what was measured until then is here")]
    address: Annotated[str, Field(description="where it ran: local, user@host")] = "local"
    subject: Subject
    samples: Samples
    settings: Settings
    machine: Machine
    startup: Startup | None
    memory: Memory | None
    split_ms: Annotated[dict[str, Interval], Field(description="tokenise or bind, infer, finish -> p50 of each part")]
    scenarios: dict[Scenario, ScenarioResult]
    energy: Energy
    operators: Operators | None
    notes: list[str]

    def document(self) -> Document:
        """The JSON document that it was read from."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)

    @property
    def marks(self) -> list[str]:
        """Every reason to doubt this run, for every view to show."""
        early = [f"partial: {self.partial}"] if self.partial else []
        return early + self.machine.marks


def read_profile(path: Path) -> Profile:
    """A profile from its file. Raises ProfileError naming the file, the key, what was found and what is possible."""
    return check_profile(read_document(path), str(path))


def check_profile(document: Document, source: str) -> Profile:
    """A document as a profile; `source` is what errors call it. Raises ProfileError, also where it was changed."""
    check_kind(document, source, KIND, SCHEMA, "a profile", "profile again")
    try:
        profile = validate(Profile, document, source)
    except ConfigError as error:
        raise ProfileError(str(error)) from None
    if profile.id != document_id(document):
        raise ProfileError(f"{source}: changed since it was measured: its id is {profile.id}, its content's is another")
    return profile
