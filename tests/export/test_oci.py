"""The OCI image layout: by the specification's own rules, and by skopeo's and umoci's reading."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
from agent.agent_device import write_manifest
from export.conftest import Make

from edgekit.bundle import Bundle, open_bundle
from edgekit.errors import ConfigError
from edgekit.export.oci import Options, export
from edgekit.export.parcel import Settings, make_parcel


def layout(bundle: Bundle, out: Path) -> Path:
    return export(make_parcel(bundle, Settings(version="1.2.3")), Options(), out).path


def blob(out: Path, descriptor: dict[str, Any]) -> bytes:
    """A descriptor's content: of the size and digest that it says."""
    kind, digest = descriptor["digest"].split(":")
    content = (out / "blobs" / kind / digest).read_bytes()
    assert len(content) == descriptor["size"] and hashlib.sha256(content).hexdigest() == digest
    return content


def test_every_descriptor_says_what_is_there(make: Make, tmp_path: Path) -> None:
    bundle = make(arch="aarch64")
    out = layout(bundle, tmp_path / "out")
    assert json.loads((out / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads((out / "index.json").read_text())
    (image,) = index["manifests"]
    assert index["schemaVersion"] == 2 and image["annotations"]["org.opencontainers.image.ref.name"] == "1.2.3"
    assert image["platform"] == {"architecture": "arm64", "os": "linux", "variant": "v8"}
    manifest = json.loads(blob(out, image))
    config = json.loads(blob(out, manifest["config"]))
    assert (config["architecture"], config["os"], config["variant"]) == ("arm64", "linux", "v8")
    assert config["config"]["Labels"]["io.edgekit.bundle.digest"] == bundle.digest
    files = {}
    for layer, diff in zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True):
        assert layer["mediaType"] == "application/vnd.oci.image.layer.v1.tar" and layer["digest"] == diff
        blob(out, layer)
        with tarfile.open(out / "blobs" / "sha256" / diff.split(":")[1]) as tar:
            files.update({entry.name: entry for entry in tar if entry.isfile()})
    assert set(files) == {
        "agent.pyz", "handover.py", "install.json", "bundle/manifest.json",
        *(f"bundle/{path}" for path in bundle.manifest["files"]),
    }  # fmt: skip
    assert {(e.uid, e.gid, e.mode) for e in files.values()} == {(0, 0, 0o644)}
    stored = {p.name for p in (out / "blobs" / "sha256").iterdir()}
    assert len(stored) == len(manifest["layers"]) + 2


def test_versions_share_the_layer_of_the_same_model(make: Make, tmp_path: Path) -> None:
    first = make("1", arch="aarch64")
    folder = shutil.copytree(first.path, tmp_path / "next")
    (folder / "twin.txt").write_text("other")
    write_manifest(folder, name="fake", target={"arch": "aarch64"})
    outs = [layout(bundle, tmp_path / f"out-{n}") for n, bundle in enumerate((first, open_bundle(folder)))]
    layers = []
    for out in outs:
        image = json.loads((out / "index.json").read_text())["manifests"][0]
        layers.append([layer["digest"] for layer in json.loads(blob(out, image))["layers"]])
    assert layers[0][0] == layers[1][0] and layers[0][1] != layers[1][1]


def test_the_same_bundle_gives_the_same_bytes(make: Make, tmp_path: Path) -> None:
    bundle = make(arch="x86_64")
    outs = [layout(bundle, tmp_path / name) for name in "ab"]
    contents = [{p.relative_to(o).as_posix(): p.read_bytes() for p in o.rglob("*") if p.is_file()} for o in outs]
    assert contents[0] == contents[1]


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="no skopeo here (scripts/system-packages installs it)")
def test_skopeo_reads_it_and_copies_every_blob(make: Make, tmp_path: Path) -> None:
    bundle = make(arch="armv7l")
    out = layout(bundle, tmp_path / "out")
    done = subprocess.run(["skopeo", "inspect", f"oci:{out}:1.2.3"], capture_output=True, text=True, check=True)
    seen = json.loads(done.stdout)
    assert (seen["Architecture"], seen["Os"]) == ("arm", "linux")
    assert seen["Labels"]["io.edgekit.bundle.digest"] == bundle.digest
    words = [
        "skopeo",
        "--insecure-policy",
        "copy",
        "--preserve-digests",
        f"oci:{out}:1.2.3",
        f"oci:{tmp_path / 'copy'}:1.2.3",
    ]
    subprocess.run(words, capture_output=True, check=True)
    blobs = [{p.name for p in (o / "blobs" / "sha256").iterdir()} for o in (out, tmp_path / "copy")]
    assert blobs[0] == blobs[1]


@pytest.mark.skipif(shutil.which("umoci") is None, reason="no umoci here (scripts/system-packages installs it)")
def test_umoci_unpacks_a_bundle_that_can_be_opened(make: Make, tmp_path: Path) -> None:
    bundle = make(arch="aarch64")
    out = layout(bundle, tmp_path / "out")
    rootless = [] if os.geteuid() == 0 else ["--rootless"]
    words = ["umoci", "unpack", *rootless, "--image", f"{out}:1.2.3", str(tmp_path / "unpacked")]
    subprocess.run(words, capture_output=True, check=True)
    assert open_bundle(tmp_path / "unpacked" / "rootfs" / "bundle").digest == bundle.digest


def test_a_bundle_for_no_processor_is_refused(make: Make, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="fake: its manifest says it is for no processor; an OCI image is for one of"):
        layout(make(), tmp_path / "out")
    with pytest.raises(ConfigError, match="for sparc64"):
        layout(make("2", arch="sparc64"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_in_use_is_left_alone(make: Make, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="exists and is no such export"):
        layout(make(arch="aarch64"), tmp_path)
