"""An OCI image layout: the parcel's files and no system, for registries, `COPY --from`, and image volumes.

    /bundle/…   /agent.pyz   /handover.py   /install.json

Three layers, so that a version with the same model or the same wheels shares them. Not compressed: INT8 weights and
wheels hardly shrink, and digests then depend on no compressor. Format: opencontainers/image-spec 1.0, image-layout.md,
manifest.md, config.md, layer.md, annotations.md.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from .parcel import Exported, Parcel
from .place import write_folder, writing
from .tars import pack

#: As the kernel calls a processor, and as the specification does: GOARCH and its variant.
_ARCHES = {"aarch64": ("arm64", "v8"), "x86_64": ("amd64", None), "armv7l": ("arm", "v7"), "riscv64": ("riscv64", None)}
IS_FOLDER = True
_TYPE = "application/vnd.oci.image"
_LABELS = "org.opencontainers.image"


@dataclass(frozen=True)
class Options:
    """Nothing to choose."""


@dataclass
class _Blobs:
    """Contents by their digest, and what refers to them."""

    contents: dict[str, bytes] = field(default_factory=dict)

    def add(self, media: str, content: bytes) -> dict[str, Any]:
        """The descriptor of a content that is kept."""
        digest = hashlib.sha256(content).hexdigest()
        self.contents[digest] = content
        return {"mediaType": f"{_TYPE}.{media}", "digest": f"sha256:{digest}", "size": len(content)}

    def add_json(self, media: str, content: dict[str, Any]) -> dict[str, Any]:
        """`add` of a document."""
        return self.add(media, json.dumps(content, sort_keys=True, separators=(",", ":")).encode())


def file_name(parcel: Parcel) -> str:
    """What it is called."""
    return f"{parcel.name}-{parcel.version}-oci"


def export(parcel: Parcel, options: Options, out: Path) -> Exported:
    """Write the layout's folder. Raises ConfigError for a bundle of no known platform, or where `out` is in use."""
    with writing(out, _is_layout_of_ours):
        blobs = _Blobs()
        image = _image(parcel, blobs)
        index = {"schemaVersion": 2, "mediaType": f"{_TYPE}.index.v1+json", "manifests": [image]}
        files = {f"blobs/sha256/{digest}": content for digest, content in blobs.contents.items()}
        files["oci-layout"] = b'{"imageLayoutVersion":"1.0.0"}'
        files["index.json"] = json.dumps(index, sort_keys=True, separators=(",", ":")).encode()
        write_folder(out, files)
    return Exported(
        out,
        str(image["digest"]).removeprefix("sha256:"),
        sum(map(len, blobs.contents.values())),
        _next(parcel, out),
        parcel.notes,
    )


def _is_layout_of_ours(folder: Path) -> bool:
    """Whether a folder is a layout of one image, an exported bundle's."""
    try:
        (image,) = json.loads((folder / "index.json").read_bytes())["manifests"]
        manifest = json.loads((folder / "blobs" / image["digest"].replace(":", "/")).read_bytes())
        return "io.edgekit.bundle.digest" in manifest["annotations"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return False


def _next(parcel: Parcel, out: Path) -> str:
    """What pushes it; skopeo ends a path at its first colon."""
    where, before = (".", f"cd {shlex.quote(str(out))} && ") if ":" in str(out) else (str(out), "")
    source = shlex.quote(f"oci:{where}:{parcel.version}")
    return f"{before}skopeo copy {source} docker://REGISTRY/{parcel.name.lower()}:{parcel.version}"


def _image(parcel: Parcel, blobs: _Blobs) -> dict[str, Any]:
    """The descriptor of the image, all that it is made of kept in `blobs`."""
    if parcel.arch not in _ARCHES:
        raise ConfigError(
            f"{parcel.name}: its manifest says it is for {parcel.arch or 'no processor'}; "
            f"an OCI image is for one of {', '.join(_ARCHES)}"
        )
    arch, variant = _ARCHES[parcel.arch]
    platform = {"architecture": arch, "os": "linux", **({"variant": variant} if variant else {})}
    layers, history = [], []
    for what, files in _layers(parcel).items():
        layers.append(blobs.add("layer.v1.tar", pack(files)))
        history.append({"created_by": "edgekit export oci", "comment": what})
    labels = {
        f"{_LABELS}.title": parcel.name,
        f"{_LABELS}.version": parcel.version,
        f"{_LABELS}.description": parcel.about,
        "io.edgekit.bundle.digest": parcel.digest,
    }
    config = {
        **platform,
        "config": {"Labels": labels},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},
        "history": history,
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{_TYPE}.manifest.v1+json",
        "config": blobs.add_json("config.v1+json", config),
        "layers": layers,
        "annotations": labels,
    }
    named = {f"{_LABELS}.ref.name": parcel.version}
    return {**blobs.add_json("manifest.v1+json", manifest), "platform": platform, "annotations": named}


def _layers(parcel: Parcel) -> dict[str, dict[str, bytes]]:
    """What changes seldom comes first; no layer is empty."""
    layers: dict[str, dict[str, bytes]] = {"wheels": {}, "model": {}, "bundle and agent": {}}
    for path, content in parcel.files.items():
        folder = path.split("/")[1] if path.startswith("bundle/") else ""
        layers[folder if folder in ("wheels", "model") else "bundle and agent"][path] = content
    return {what: files for what, files in layers.items() if files}
