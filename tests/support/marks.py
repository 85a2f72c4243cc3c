"""Looks for secrets in files."""

from __future__ import annotations

from pathlib import Path


def files_with(folder: Path, *secrets: str) -> list[Path]:
    """Return the files below a folder that hold any of the secrets."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert files, f"there is nothing in {folder}"
    return [path for path in files if any(secret.encode() in path.read_bytes() for secret in secrets)]
