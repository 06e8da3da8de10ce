"""What a cloud target quotes: its price in a region, and the throughputs that others published for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..errors import ConfigError, did_you_mean
from ..target import Cloud, Published, Target, load_target
from .inputs import Input, Missing
from .scenario import Scenario

if TYPE_CHECKING:
    from .sources import Resolved


def price_of(scenario: Scenario, name: str, found: Resolved) -> Target:
    """A cloud target by its instance's name or a path, and its price in the region if it quotes the pricing asked for.

    A price of the user's own comes first. Raises ConfigError with the nearest target or region.
    """
    target = load_target(name if "/" in name or name.endswith(".toml") else name.replace(".", "-"))
    found.cloud_name = target.name
    cloud, own = target.cloud, "cloud_usd_per_hour" in found.known.inputs
    if cloud is None:
        if not own:
            raise ConfigError(
                f"cloud: target {target.name} has no [cloud] table with prices; give --cloud-usd-per-hour"
            )
        return target
    pricing = scenario.pricing or cloud.pricing
    if not own and pricing != cloud.pricing:
        raise ConfigError(
            f"pricing: target {target.name} quotes {cloud.pricing} only, found {pricing}; give its price with "
            "--cloud-usd-per-hour"
        )
    if own:
        asked = [word for word in (scenario.region, scenario.pricing) if word]
        found.cloud_name = ", ".join([cloud.instance, *asked, "price as given"])
        return target
    region = scenario.region or next(iter(cloud.usd_per_hour))
    found.choose("region", "region", region, "given" if scenario.region else "default")
    found.choose("pricing", "pricing", pricing, "given" if scenario.pricing else "default")
    found.cloud_name = f"{cloud.instance}, {region}, {pricing.replace('_', ' ')}"
    if region not in cloud.usd_per_hour:
        raise ConfigError(
            f"region: target {target.name} has no price in '{region}'{did_you_mean(region, cloud.usd_per_hour)}"
        )
    found.offer([Input("cloud_usd_per_hour", cloud.usd_per_hour[region], "quoted", f"{cloud.source}, {cloud.as_of}")])
    return target


def offer_published(scenario: Scenario, target: Target, found: Resolved, how: str) -> None:
    """A throughput that the user picked from the target's published ones; never one that was not picked.

    `how` is what else would say it.
    """
    offered = target.gpu.published if target.gpu else ()
    if scenario.cloud_published is None:
        if offered:
            which = f"{how}, or --cloud-published with one of: {_names(offered)}"
            found.known.missing.append(Missing("cloud_qps", which))
        return
    words = scenario.cloud_published.lower().split()
    hits = [one for one in offered if all(word in one.name.lower().split() for word in words)]
    if len(hits) != 1:
        which = "matches none" if not hits else f"matches {len(hits)}"
        raise ConfigError(
            f"cloud_published: '{scenario.cloud_published}' {which} of target {target.name}; possible: "
            f"{_names(hits or offered)}"
        )
    one, gpus = hits[0], target.cloud.gpus if isinstance(target.cloud, Cloud) else 1
    source = f"{one.name}: {one.source}, date not stated"
    if gpus > 1:
        source += f"; modelled: one GPU's {one.per_second} x {gpus}"
        found.notes.append(f"{one.name} was published for one GPU; {gpus} times as much on {target.name} is a model")
    found.offer([Input("cloud_qps", one.per_second * gpus, "quoted", source)])
    runs = f"'{found.edge.subject.name}'" if found.edge else "a model that no profile tells"
    shape = f"{one.layers} layers, {one.width} wide" if one.layers else "shape not stated"
    found.notes.append(
        f"cloud throughput is published for {one.name} ({shape}), the edge runs {runs}: "
        "not like for like; only a profile from that machine is"
    )
    found.notes += [one.note] if one.note else []


def _names(published: Iterable[Published]) -> str:
    return "; ".join(f"'{one.name}' {one.per_second}/s" for one in published)
