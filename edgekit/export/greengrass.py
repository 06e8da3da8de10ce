"""An AWS IoT Greengrass v2 component: a recipe, and its artifact as a zip.

    OUT/recipes/NAME-VERSION.json
    OUT/artifacts/NAME/VERSION/NAME.zip     the folders of a local deployment (greengrass-cli deployment create)

The recipe's step Install lets the agent install the bundle; where that fails Greengrass rolls the deployment back, and
the device runs what it ran, for the agent has not switched. Format: "AWS IoT Greengrass component recipe reference".
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import shlex
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from .parcel import Exported, Parcel
from .place import write_folder, writing

#: As the kernel calls a processor, and as the nucleus does.
_ARCHES = {"aarch64": "aarch64", "x86_64": "amd64", "armv7l": "arm"}
IS_FOLDER = True
_COMPONENT = re.compile(r"[A-Za-z0-9_.-]{1,128}\Z")
_BUCKET = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9!_.*'()-]+)*\Z")
#: The earliest time that a zip archive can say.
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Options:
    """`bucket`: where the zip will lie, s3://BUCKET/PREFIX. `component`: None for edgekit.NAME."""

    bucket: str = "s3://BUCKET"
    component: str | None = None
    publisher: str = "edgekit"


def file_name(parcel: Parcel) -> str:
    """What it is called."""
    return f"{parcel.name}-{parcel.version}-greengrass"


def export(parcel: Parcel, options: Options, out: Path) -> Exported:
    """Write recipe and zip. Raises ConfigError for names that Greengrass would not take, and for the place."""
    component = options.component or f"edgekit.{parcel.name}".replace("+", "-")
    _check(component, options)
    artifact, about = (
        f"artifacts/{component}/{parcel.version}/{component}.zip",
        f"recipes/{component}-{parcel.version}.json",
    )
    with writing(out, lambda folder: _is_only(component, folder)):
        recipe = json.dumps(_recipe(parcel, component, options), indent=2) + "\n"
        packed = _zip(parcel.files)
        write_folder(out, {artifact: packed, about: recipe.encode()})
    uri = _uri(component, parcel, options)
    return Exported(
        out,
        hashlib.sha256(packed).hexdigest(),
        len(packed),
        f"aws s3 cp {shlex.quote(f'{out}/{artifact}')} {shlex.quote(uri)} && aws greengrassv2 "
        f"create-component-version --inline-recipe {shlex.quote(f'fileb://{out}/{about}')}",
        parcel.notes + (("the recipe's URI says s3://BUCKET: say yours by --bucket",) if "BUCKET" in uri else ()),
    )


def _is_only(component: str, folder: Path) -> bool:
    """Whether a folder holds versions of this component, and of no other."""
    recipes = [path.name for path in folder.glob("recipes/*")]
    return bool(recipes) and all(name.startswith(f"{component}-") for name in recipes)


def _check(component: str, options: Options) -> None:
    problems = []
    if not _COMPONENT.match(component) or component.startswith("aws.greengrass"):
        problems.append(f"--component {component!r}: expected up to 128 letters, digits and _ . -: com.acme.sentiment")
    if options.bucket != Options.bucket and not _BUCKET.match(options.bucket):
        problems.append(f"--bucket {options.bucket!r}: expected s3://BUCKET or s3://BUCKET/PREFIX")
    if problems:
        raise ConfigError(problems)


def _recipe(parcel: Parcel, component: str, options: Options) -> dict[str, Any]:
    """What Greengrass is told."""
    call = f"python3 -I -B {{artifacts:decompressedPath}}/{component}/handover.py"
    platform = {"os": "linux"}
    if parcel.arch is not None:
        platform["architecture"] = _ARCHES.get(parcel.arch, parcel.arch)
    install = {"RequiresPrivilege": True, "Timeout": parcel.timeout_s, "Script": f"{call} install"}
    return {
        "RecipeFormatVersion": "2020-01-25",
        "ComponentName": component,
        "ComponentVersion": parcel.version,
        "ComponentType": "aws.greengrass.generic",
        "ComponentDescription": f"{parcel.about}; release {parcel.digest}",
        "ComponentPublisher": options.publisher,
        "Manifests": [
            {
                "Name": "-".join(platform.values()),
                "Platform": platform,
                "Lifecycle": {"Install": install},
                "Artifacts": [
                    {
                        "URI": _uri(component, parcel, options),
                        "Unarchive": "ZIP",
                        "Permission": {"Read": "OWNER", "Execute": "NONE"},
                    }
                ],
            }
        ],
    }


def _uri(component: str, parcel: Parcel, options: Options) -> str:
    return f"{options.bucket}/{component}/{parcel.version}/{component}.zip"


def _zip(files: Mapping[str, bytes]) -> bytes:
    """The parcel, the same bytes for the same files."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for path, content in sorted(files.items()):
            entry = zipfile.ZipInfo(path, _EPOCH)
            entry.compress_type, entry.create_system, entry.external_attr = zipfile.ZIP_DEFLATED, 3, 0o100644 << 16
            archive.writestr(entry, content)
    return packed.getvalue()
