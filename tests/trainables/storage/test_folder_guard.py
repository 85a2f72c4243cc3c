"""The guard of a sweep's folder: one that is damaged, gone or another's is noticed, in words."""

from __future__ import annotations

import json

import pytest

from trainables.errors import StorageError
from trainables.storage.atomic import write_json
from trainables.storage.folder_guard import FolderGuard

ID = "0" * 32


def test_the_sweep_in_the_folder_is_verified(tmp_path):
    write_json(tmp_path / "sweep.json", {"format": 3, "id": ID})
    FolderGuard(tmp_path, ID).check()
    with pytest.raises(StorageError, match="renamed, removed or replaced"):
        FolderGuard(tmp_path, "1" * 32)


@pytest.mark.parametrize("content", ["", "{", "[]", json.dumps({"id": ID, "sha256": "0"})])
def test_a_damaged_file_is_said(tmp_path, content):
    (tmp_path / "sweep.json").write_text(content)
    with pytest.raises(StorageError, match=r"sweep\.json .*put a copy of it in its place"):
        FolderGuard(tmp_path, ID)
