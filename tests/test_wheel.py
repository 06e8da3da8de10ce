"""What a user gets who installs the wheel."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import pytest

from edgekit.catalog import names

ROOT = Path(__file__).parents[1]


@pytest.mark.heavy
def test_the_wheel_finds_its_recipes_and_targets_from_any_folder(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, ROOT],
        check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    # The base dependencies come from this environment, so that the test needs no network.
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", wheel], check=True, capture_output=True)
    site = next((tmp_path / "venv" / "lib").glob("python*")) / "site-packages"
    here = next(p for p in sys.path if p.endswith("site-packages"))
    (site / "base.pth").write_text(f"{here}\n")
    for kind in ("recipes", "targets"):
        done = subprocess.run(
            [tmp_path / "venv" / "bin" / "edgekit", kind, "--json"], cwd="/", capture_output=True, text=True, check=True
        )
        assert all(f'"{name}"' in done.stdout for name in names(kind))
    where = subprocess.run(
        [python, "-c", "import edgekit; print(edgekit.__file__)"], cwd="/", capture_output=True, text=True, check=True
    )
    assert str(tmp_path) in where.stdout
