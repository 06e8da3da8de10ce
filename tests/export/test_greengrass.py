"""The Greengrass component: its recipe by the rules of the recipe reference, its zip run as the nucleus would."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from export.conftest import Make

from edgekit.bundle import Bundle
from edgekit.errors import ConfigError
from edgekit.export.greengrass import Exported, Options, export, file_name
from edgekit.export.parcel import Settings, make_parcel

#: What the recipe reference and AWS's recipe_schema.json ask of a generic component's recipe, key by key: a type, or a
#: pattern, or the words that are possible, or the rules of what is in it.
RULES: dict[str, Any] = {
    "RecipeFormatVersion": {"2020-01-25"},
    "ComponentName": re.compile(r"[a-zA-Z0-9-_.]{1,128}"),
    "ComponentVersion": re.compile(r"\d{1,6}\.\d{1,6}\.\d{1,6}(-[0-9a-z][0-9A-Za-z.-]*)?"),  # and 64 characters at most
    "ComponentType": {"aws.greengrass.generic", "aws.greengrass.lambda"},
    "ComponentDescription": str,
    "ComponentPublisher": str,
    "Manifests": [
        {
            "Name": str,
            "Platform": {"os": {"linux", "windows", "darwin"}, "architecture": {"amd64", "arm", "aarch64", "x86"}},
            "Lifecycle": {"Install": {"Script": str, "RequiresPrivilege": bool, "Timeout": int}},
            "Artifacts": [
                {
                    "URI": re.compile(r"s3://[^/]+/.+\.zip"),
                    "Unarchive": {"NONE", "ZIP"},
                    "Permission": {"Read": {"NONE", "OWNER", "ALL"}, "Execute": {"NONE", "OWNER", "ALL"}},
                }
            ],
        }
    ],
}


def check(found: Any, rule: Any, where: str = "recipe") -> None:
    if isinstance(rule, dict):
        assert set(found) <= set(rule), f"{where}: {set(found) - set(rule)} unknown"
        for key, value in found.items():
            check(value, rule[key], f"{where}.{key}")
    elif isinstance(rule, list):
        for value in found:
            check(value, rule[0], f"{where}[]")
    elif isinstance(rule, set):
        assert found in rule, f"{where}: {found}"
    elif isinstance(rule, re.Pattern):
        assert rule.fullmatch(found), f"{where}: {found}"
    else:
        assert type(found) is rule, f"{where}: {found!r}"


def component(bundle: Bundle, out: Path, options: Options | None = None, **settings: Any) -> Exported:
    return export(make_parcel(bundle, Settings(**settings)), options or Options("s3://acme-fleet/models"), out)


def recipe_of(out: Path) -> dict[str, Any]:
    (path,) = (out / "recipes").iterdir()
    return dict(json.loads(path.read_text()))


@pytest.mark.parametrize("version", ["1.2.3", None])
def test_the_recipe_keeps_the_rules(make: Make, tmp_path: Path, version: str | None) -> None:
    bundle = make(arch="aarch64")
    component(bundle, tmp_path / "out", version=version)
    recipe = recipe_of(tmp_path / "out")
    check(recipe, RULES)
    required = {"RecipeFormatVersion", "ComponentName", "ComponentVersion", "Manifests"}
    assert required <= set(recipe) and len(recipe["ComponentVersion"]) <= 64
    (manifest,) = recipe["Manifests"]
    assert manifest["Platform"] == {"os": "linux", "architecture": "aarch64"}
    assert bundle.digest in recipe["ComponentDescription"]


def test_the_folders_are_those_of_a_local_deployment(make: Make, tmp_path: Path) -> None:
    done = component(make(), tmp_path / "out", version="1.2.3")
    files = sorted(p.relative_to(done.path).as_posix() for p in done.path.rglob("*") if p.is_file())
    assert files == ["artifacts/edgekit.fake/1.2.3/edgekit.fake.zip", "recipes/edgekit.fake-1.2.3.json"]
    (manifest,) = recipe_of(done.path)["Manifests"]
    assert manifest["Artifacts"][0]["URI"] == "s3://acme-fleet/models/edgekit.fake/1.2.3/edgekit.fake.zip"
    assert "architecture" not in manifest["Platform"]


def deploy(out: Path, place: Path) -> subprocess.CompletedProcess[str]:
    """What the nucleus does: unpack the artifact to a folder of its name, fill in the path, give the script to sh."""
    (packed,) = out.rglob("*.zip")
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(place / packed.stem)
    script = recipe_of(out)["Manifests"][0]["Lifecycle"]["Install"]["Script"]
    assert script.count("{") == 1
    script = script.replace("{artifacts:decompressedPath}", str(place)).replace("python3", sys.executable, 1)
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True, cwd=place, check=False)


def test_its_script_installs_the_bundle_and_fails_where_it_answers_otherwise(make: Make, tmp_path: Path) -> None:
    base = Path("/tmp") / f"edgekit-test-{tmp_path.parent.name}-{tmp_path.name}"  # a plain path, as --base asks for
    base.symlink_to(tmp_path / "base")
    try:
        first, bad = make("1"), make("2", current="differs")
        component(first, tmp_path / "one", base=str(base))
        component(bad, tmp_path / "two", base=str(base))
        done = deploy(tmp_path / "one", tmp_path / "work-1")
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        assert done.stderr.endswith(f"edgekit: release {first.digest[:16]}: installed\n")
        again = deploy(tmp_path / "one", tmp_path / "work-1")
        assert again.returncode == 0 and "ran already, is healthy" in again.stderr
        done = deploy(tmp_path / "two", tmp_path / "work-2")
        assert done.returncode == 1 and "edgekit: not healthy, switched back to release" in done.stderr
        assert (tmp_path / "base" / "current").readlink().name == first.digest
    finally:
        base.unlink()


def test_the_same_bundle_gives_the_same_bytes(make: Make, tmp_path: Path) -> None:
    bundle = make()
    outs = [component(bundle, tmp_path / name).path for name in "ab"]
    assert {p.relative_to(outs[0]): p.read_bytes() for p in outs[0].rglob("*") if p.is_file()} == {
        p.relative_to(outs[1]): p.read_bytes() for p in outs[1].rglob("*") if p.is_file()
    }


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (Options(component="a b"), "--component 'a b'"),
        (Options(component="aws.greengrass.Nucleus"), "--component 'aws.greengrass.Nucleus'"),
        (Options(bucket="acme"), "--bucket 'acme': expected s3://BUCKET"),
        (Options(bucket="s3://A"), "--bucket 's3://A'"),
    ],
)
def test_what_greengrass_would_not_take_is_refused(make: Make, tmp_path: Path, options: Options, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        component(make(), tmp_path / "out", options)
    assert not (tmp_path / "out").exists()


def test_a_folder_in_use_is_left_alone(make: Make, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="exists and is no such export"):
        component(make(), tmp_path / "out")
    assert (tmp_path / "out" / "thesis.txt").read_text() == "mine"
    made = component(make("2"), tmp_path / file_name(make_parcel(make("3"), Settings())))
    assert component(make("4"), made.path).path == made.path  # an older export is replaced
