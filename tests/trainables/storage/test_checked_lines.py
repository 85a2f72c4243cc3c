"""Lines with checksums: what was written is taken, and any change of any line is noticed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.storage.checked_lines import DamagedLineError, LineChecksums

ROWS = st.lists(st.dictionaries(st.text(min_size=1), st.integers() | st.text(), min_size=1), min_size=2, max_size=6)


def sealed(rows: list[dict[str, object]], start: int = 0) -> list[bytes]:
    checksums = LineChecksums(start)
    return [checksums.seal(json.dumps(row).encode()) for row in rows]


def check(lines: list[bytes], start: int = 0) -> LineChecksums:
    checksums = LineChecksums(start)
    for line in lines:
        checksums.check(line)
    return checksums


@given(ROWS)
def test_what_was_written_is_taken_and_holds_what_was_given(rows):
    lines = sealed(rows)
    check(lines)
    for row, line in zip(rows, lines, strict=True):
        content = json.loads(line)
        if "crc" not in row:
            assert {name: value for name, value in content.items() if name != "crc"} == row


@given(ROWS, st.data())
def test_a_changed_bit_of_any_line_is_noticed(rows, data):
    lines = sealed(rows)
    number = data.draw(st.integers(0, len(lines) - 1))
    line = bytearray(lines[number])
    position = data.draw(st.integers(0, len(line) - 1))
    line[position] ^= 1 << data.draw(st.integers(0, 7))
    # The first line alone may lose its checksum: then it is taken for one of an earlier release, which the next covers.
    with pytest.raises(DamagedLineError):
        check([*lines[:number], bytes(line), *lines[number + 1 :], *sealed_after(lines)])


def sealed_after(lines: list[bytes]) -> list[bytes]:
    checksums = check(lines)
    return [checksums.seal(b'{"last": 1}')]


@given(ROWS, st.data())
def test_a_line_that_is_removed_repeated_or_moved_is_noticed(rows, data):
    rows = [{**row, "number": number} for number, row in enumerate(rows)]
    lines = sealed(rows)
    number = data.draw(st.integers(0, len(lines) - 2))
    for changed in (
        lines[:number] + lines[number + 1 :],
        [*lines[: number + 1], *lines[number:]],
        [*lines[:number], lines[number + 1], lines[number], *lines[number + 2 :]],
    ):
        with pytest.raises(DamagedLineError):
            check(changed)


def test_a_line_of_another_file_is_noticed():
    with pytest.raises(DamagedLineError, match="the checksum of line 1 does not match"):
        check(sealed([{"a": 1}], start=1), start=2)


def test_lines_of_earlier_releases_may_come_first_and_are_covered_from_then_on():
    old = [b'{"a": 1}', b'{"a": 2}']
    checksums = check(old)
    new = checksums.seal(b'{"a": 3}')
    assert check([*old, new]).num_lines == 3
    with pytest.raises(DamagedLineError, match="line 3"):
        check([b'{"a": 9}', old[1], new])
    with pytest.raises(DamagedLineError, match="line 4 has no checksum"):
        check([*old, new, b'{"a": 4}'])
