"""Wheels of the product and of plug-ins, and environments that have them, all without a network."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("tuner", "trainables", "search_spaces")
EXAMPLE = ROOT / "tests" / "plugins" / "example"
_OFFLINE = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index")


def copy_source(folder: Path) -> Path:
    """Copy what the wheel is built from, because building leaves files behind."""
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def pip(*arguments: str | Path) -> None:
    """Run pip, which must reach nothing beyond this machine."""
    command = [sys.executable, "-m", "pip", *map(str, arguments[:1]), *_OFFLINE, *map(str, arguments[1:])]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def new_environment(folder: Path, *sources: Path) -> Path:
    """Make an environment into which sources are installed, and return its Python.

    It sees what is installed here, for what they need.

    Args:
        folder: of the environment, which is made.
        sources: folders that are installed, each from a copy.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = folder / "lib" / version / "site-packages"
    here = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
    (site / "what_they_need.pth").write_text("\n".join(here))
    pip("install", "--target", site, *sources)
    return folder / "bin" / "python"
