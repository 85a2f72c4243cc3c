"""JSON files with a checksum: what was written is read, and whatever else stands there is refused in words."""

from __future__ import annotations

from typing import Any

import pytest

from trainables.errors import UserError
from trainables.storage.atomic import write_json
from trainables.storage.checked_json import read_json

CONTENT = {"format": 1, "name": "a", "numbers": [1, 2.5, None]}


def read(path) -> dict[str, Any]:
    return read_json(path, dict[str, Any], remedy="put a copy of it in its place")


def test_what_was_written_is_read(tmp_path):
    path = tmp_path / "file.json"
    write_json(path, CONTENT)
    assert read(path) == CONTENT


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (b'"a"', b'"b"', "its checksum does not match"),
        (b"2.5", b"3.5", "its checksum does not match"),
        (b'"name": "a",', b'"name": "a", "name": "a",', "a key stands there twice"),
        (b"2.5", b"NaN", "NaN is no finite number"),
        (b"2.5", b"1e999", "1e999 is no finite number"),
        (b"{", b"", "Extra data"),
    ],
)
def test_a_change_is_noticed_and_named(tmp_path, before, after, reason):
    path = tmp_path / "file.json"
    write_json(path, CONTENT)
    text = path.read_bytes()
    assert before in text
    path.write_bytes(text.replace(before, after, 1))
    with pytest.raises(UserError, match=rf"file\.json is damaged \({reason}.*\): put a copy of it in its place"):
        read(path)


def test_a_path_that_is_no_valid_utf_8_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"home": "/donn\udcc3\udca9es"})
    assert read_json(path, dict[str, str], remedy="none") == {"home": "/donn\udcc3\udca9es"}
