"""Files of a bundle and their checksums: each is read up to a size, and from a regular file."""

from __future__ import annotations

import os

import pytest

from trainables.storage.bundle_files import find_changes, write_checksums


@pytest.fixture
def bundle(tmp_path):
    for name in ("configuration.json", "classifier.safetensors", "model_card.md"):
        (tmp_path / name).write_text(name)
    write_checksums(tmp_path, "configuration.json", "classifier.safetensors", "model_card.md")
    return tmp_path


def test_as_it_was_written_nothing_has_changed(bundle):
    assert find_changes(bundle) == []


def _pipe(path):
    path.unlink()
    os.mkfifo(path)


def _device(path):
    path.unlink()
    path.symlink_to("/dev/zero")


def _folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.write_text("other"), "was changed after it was written"),
        (lambda path: path.unlink(), "cannot be read: No such file"),
        (_pipe, "cannot be read: not a regular file"),
        (_device, "cannot be read: not a regular file"),
        (_folder, "cannot be read: not a regular file"),
        (lambda path: os.truncate(path, 10**13), "has more than 4294967296 bytes"),
    ],
    ids=["changed", "gone", "pipe", "device", "folder", "sparse"],
)
def test_whatever_lies_there_now_is_said_at_once(bundle, damage, words):
    path = bundle / "model_card.md"
    damage(path)
    (problem,) = find_changes(bundle)
    assert problem.startswith(f"{path} {words}")
