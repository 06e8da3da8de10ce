"""A target: where an artifact runs. It never names a model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from .catalog import find, folder
from .errors import ConfigError
from .tomlfile import Exact, read_toml, validate


class Table(BaseModel):
    """What every table has in common: strict types, no unknown keys, immutable."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, defer_build=True)


class Runtime(Table):
    """What executes the artifact on the device."""

    name: Annotated[str, Field(description="a module of edgekit/ondevice/runtimes")]
    version: Annotated[str, Field(description="the version that the device gets, and that validation should use")]
    device: Annotated[str, Field(description="the runtime's word for the processor")] = "CPU"
    threads: Annotated[int, Field(ge=1, description="what the bundle uses unless told otherwise")] = 1
    batch: Annotated[
        int, Field(ge=1, le=1024, description="samples that it computes at once where many are at hand (onnxruntime)")
    ] = 1
    also: Annotated[
        dict[str, str],
        Field(default_factory=dict, description="other runtimes and versions on such devices; tried and reported"),
    ]


class Wheels(Table):
    """What `edgekit build --with-runtime` brings wheels for; more than one Python makes the bundle so much larger."""

    pythons: Annotated[
        tuple[Annotated[str, Field(pattern=r"^3\.\d{1,2}$")], ...],
        Field(strict=False, description="the Pythons of such devices: 3.11 is Debian 12's"),
    ] = ("3.11",)
    glibc: Annotated[str, Field(pattern=r"^2\.\d{1,2}$", description="the oldest of such devices")] = "2.36"


class Published(Table):
    """A throughput that someone else published for one GPU. What they do not say is None."""

    model: Annotated[str, Field(description="as its publisher names it: bert-base")]
    layers: int | None = None
    width: int | None = None
    tokens: int | None = None
    batch: int | None = None
    precision: str | None = None
    software: str
    per_second: Annotated[Exact, Field(gt=0, description="samples a second on one GPU")]
    source: str
    note: str = ""

    @property
    def name(self) -> str:
        """How a user picks it: bert-base int8 128 tokens batch 32 TensorRT 8.2."""
        words = (
            self.model, self.precision, self.tokens and f"{self.tokens} tokens", self.batch and f"batch {self.batch}",
            self.software,
        )  # fmt: skip
        return " ".join(word for word in words if word)


class Gpu(Table):
    """The graphics processor of a target."""

    name: str
    published: Annotated[tuple[Published, ...], Field(strict=False, description="throughputs of one of them")] = ()


class Cloud(Table):
    """A machine that is rented by the hour."""

    instance: Annotated[str, Field(description="the provider's name for it: g4dn.xlarge")]
    provider: str
    gpus: Annotated[int, Field(ge=0)]
    pricing: Annotated[Literal["on_demand", "reserved", "spot"], Field(description="what usd_per_hour is")]
    usd_per_hour: Annotated[
        dict[str, Annotated[Exact, Field(ge=0)]],
        Field(min_length=1, description="by region; the first one stands in where none is named"),
    ]
    as_of: Annotated[str, Field(description="when the prices were looked up: 2026-04")]
    source: str


class Target(Table):
    """A target file. Its name is the file's."""

    _name: str = PrivateAttr("")
    _shipped: bool = PrivateAttr(False)
    format_version: Annotated[Literal[1], Field(alias="schema")]
    description: Annotated[str, Field(min_length=1, description="one sentence for the list")]
    aliases: Annotated[
        tuple[str, ...], Field(strict=False, description="other names of a shipped target; none is inherited")
    ] = ()
    arch: Literal["aarch64", "armv7l", "x86_64"]
    cpu_flags: Annotated[
        tuple[str, ...],
        Field(strict=False, description="the device's CPU has one of these, as /proc/cpuinfo names them"),
    ] = ()
    runtime: Runtime
    buckets: Annotated[
        tuple[Annotated[int, Field(ge=1, le=512)], ...],
        Field(strict=False, min_length=1, description="token lengths that the artifact is made for"),
    ]
    options: Annotated[
        dict[Literal["sparsify", "quantize", "convert"], dict[str, Any]],
        Field(
            default_factory=dict,
            description="what this target alone knows of a step, such as options.quantize.overflow_fix",
        ),
    ]
    wheels: Wheels = Wheels()
    gpu: Gpu | None = None
    cloud: Cloud | None = None

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return self._name

    @property
    def is_shipped(self) -> bool:
        """Whether it is one of edgekit's own, and not a user's file that may have the same name."""
        return self._shipped


def load_target(name: str) -> Target:
    """A shipped target by name, or anyone's by path, with what it `extends` filled in. Raises ConfigError."""
    path = find("targets", name)
    target = validate(Target, _inherit(path, ()), str(path))
    target._name, target._shipped = path.stem, path.parent == folder("targets")
    if list(target.buckets) != sorted(set(target.buckets)):
        raise ConfigError(f"{path}: key 'buckets': found {list(target.buckets)}, expected rising lengths, each once")
    return target


def _inherit(path: Path, below: tuple[Path, ...]) -> dict[str, Any]:
    """A target's content laid over that of the target it extends."""
    if path in below:
        raise ConfigError(
            f"{path}: key 'extends': goes round in a circle: {' -> '.join(p.stem for p in (*below, path))}"
        )
    content = read_toml(path)
    parent = content.pop("extends", None)
    if parent is None:
        return content
    if not isinstance(parent, str):
        raise ConfigError(f"{path}: key 'extends': found {parent!r}, expected the name of a target")
    base = _inherit(find("targets", parent), (*below, path))
    base.pop("aliases", None)
    return _overlay(base, content)


def _overlay(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """`top` over `base`, table by table."""
    merged = dict(base)
    for key, value in top.items():
        old = merged.get(key)
        merged[key] = _overlay(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged
