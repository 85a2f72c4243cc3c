"""Metrics files and what a run is called."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.storage.sweep_store import SweepStore
from tuner.errors import DamagedRunError
from tuner.sweep.runs import Run, append_metrics, describe_ratio, read_last_metrics, read_metrics

ROWS = st.lists(st.dictionaries(st.sampled_from("abcd"), st.floats(0, 1)), max_size=5)


def run_in(folder: Path, key: str = "trial-0000", **changes: object) -> Run:
    return Run(key, "trial", 0, {"seed": 1, **changes}, folder, "id", "tiny")


def numbered(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{**row, "step": step} for step, row in enumerate(rows, 1)]


@given(rows=ROWS, cut=st.integers(0, 700))
def test_a_file_cut_anywhere_reads_as_its_whole_lines(tmp_path_factory, rows, cut):
    run = run_in(tmp_path_factory.mktemp("run"))
    rows = numbered(rows)
    for row in rows:
        append_metrics(run, row, SweepStore(run.folder))
    assert read_metrics(run) == rows
    assert read_last_metrics(run) == (rows[-1] if rows else {})
    path = run.folder / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:cut] if rows else b"")
    kept = read_metrics(run)
    assert kept == rows[: len(kept)]
    append_metrics(run, {"step": 9}, SweepStore(run.folder))
    assert read_metrics(run) == [*kept, {"step": 9}]
    header, *lines = map(json.loads, path.read_text().splitlines())
    assert header == {"format": 3, **run.identity.as_json(), "crc": header["crc"]}
    assert all(len(line["crc"]) == 8 for line in lines)


@settings(max_examples=300)
@given(rows=ROWS.filter(len), place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_is_noticed_wherever_it_is(tmp_path_factory, rows, place, bit):
    run = run_in(tmp_path_factory.mktemp("run"))
    for row in numbered(rows):
        append_metrics(run, row, SweepStore(run.folder))
    path = run.folder / "metrics.jsonl"
    content = bytearray(path.read_bytes())
    content[int(place * (len(content) - 1))] ^= 1 << bit  # without the last line break: then the line was cut off
    path.write_bytes(content)
    for read in (read_metrics, read_last_metrics):
        with pytest.raises(DamagedRunError, match=r"metrics\.jsonl cannot be used: .*`tuner resume tiny --repair`"):
            read(run)


def _three_rows(run: Run) -> list[bytes]:
    for step in (1, 2, 3):
        append_metrics(run, {"step": step, "robust": 0.5}, SweepStore(run.folder))
    return (run.folder / "metrics.jsonl").read_bytes().splitlines(keepends=True)


@pytest.mark.parametrize(
    "order", [(1, 2, 3), (0, 2, 3), (0, 1, 3), (0, 2, 1, 3), (0, 1, 1, 2, 3), (0, 0, 1, 2, 3), (3,)]
)
def test_a_line_that_is_removed_moved_or_doubled_is_noticed(tmp_path, order):
    run = run_in(tmp_path)
    lines = _three_rows(run)
    (tmp_path / "metrics.jsonl").write_bytes(b"".join(lines[number] for number in order))
    with pytest.raises(DamagedRunError):
        read_last_metrics(run)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (run_in(Path(), seed=2), "it belongs to a run with other settings"),
        (run_in(Path(), "trial-0001"), "it belongs to the run trial-0001"),
        (replace(run_in(Path()), sweep_id="another"), "it belongs to another sweep, of the id another"),
    ],
)
def test_a_file_of_another_run_is_not_read(tmp_path, other, expected):
    _three_rows(replace(other, folder=tmp_path))
    with pytest.raises(DamagedRunError, match=expected):
        read_last_metrics(run_in(tmp_path))


@pytest.mark.parametrize(
    "line",
    [
        *(b"[1]", b"{", b'{"step": "1"}', b'{"robust": 0.5}', b"[" * 100_000, b"\xff\x00"),
        *(b'{"step": 1e400}', b'{"step": NaN}', b'{"step": -1}', b'{"step": 1.5}', b'{"step": 1' + b"0" * 400 + b"}"),
    ],
)
def test_of_an_older_file_a_line_that_is_no_report_is_noticed(tmp_path, line):
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1}\n' + line + b"\n")
    with pytest.raises(DamagedRunError):
        read_last_metrics(run_in(tmp_path))


def test_rows_that_are_added_to_a_file_of_an_older_release_have_checksums(tmp_path):
    path, run = tmp_path / "metrics.jsonl", run_in(tmp_path)
    older = b'{"step": 1}\n{"step": 2}\n'
    path.write_bytes(older + b'{"st')
    for step in (3, 4):
        append_metrics(run, {"step": step}, SweepStore(tmp_path))
    content = path.read_bytes()
    assert content.startswith(older)
    assert read_metrics(run) == [{"step": step} for step in (1, 2, 3, 4)]
    path.write_bytes(content.replace(b'{"step": 2}', b'{"step": 5}'))
    with pytest.raises(DamagedRunError, match="the checksum of line 3 does not match"):
        read_metrics(run)


def test_of_a_long_file_only_the_end_is_read_to_append(tmp_path, monkeypatch):
    run = run_in(tmp_path)
    _three_rows(run)
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail("it read the whole file"))
    append_metrics(run, {"step": 4, **{f"metric_{number}": 0.1 for number in range(1000)}}, SweepStore(tmp_path))
    append_metrics(run, {"step": 5}, SweepStore(tmp_path))
    monkeypatch.undo()
    assert [row["step"] for row in read_metrics(run)] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        ({"kind": "constant", "generator_turns": 2}, "2:1"),
        ({"kind": "constant", "generator_turns": {"kind": "constant", "values": [2]}}, "2:1"),
        ({"kind": "constant", "generator_turns": {"kind": "linear", "values": [1, 8]}}, "1..8:1"),
        ({"kind": "constant", "generator_turns": {"kind": "stepped", "values": [1, 4, 2]}}, "1-4-2:1"),
        ({"kind": "stepped", "steps": [6, 8, 12]}, "6-8-12:1"),
        ({"kind": "adaptive", "target_generator_loss": 0.6}, "<0.6:1"),
    ],
)
def test_ratios_in_a_few_characters(ratio, text):
    assert describe_ratio(ratio) == text


@pytest.mark.parametrize(
    ("goal", "label"),
    [
        ({"goal": "untargeted"}, "gan 2:1"),
        ({"goal": "targeted", "target": 3}, "gan 2:1 to 3"),
        ({"goal": "source_to_target", "source": 4, "target": 9}, "gan 2:1 4 to 9"),
    ],
)
def test_a_generators_goal_is_in_its_name(goal, label, tmp_path):
    settings = {"trainable": "gan", "ratio": {"kind": "constant", "generator_turns": 2}, "generator": goal}
    assert Run("trial-0000", "trial", 0, settings, tmp_path).label == label


@pytest.mark.parametrize(
    "make",
    [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero"), lambda path: path.symlink_to(path)],
    ids=["pipe", "folder", "device", "loop"],
)
def test_what_is_no_file_is_not_read(tmp_path, make):
    make(tmp_path / "metrics.jsonl")
    with pytest.raises(DamagedRunError, match="it cannot be read: "):
        read_metrics(run_in(tmp_path))
