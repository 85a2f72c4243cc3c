"""Metrics files and what a run is called."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.storage.sweep_store import SweepStore
from tuner.sweep.runs import Run, append_metrics, describe_ratio, read_metrics


@given(rows=st.lists(st.dictionaries(st.text(max_size=5), st.floats(0, 1)), max_size=5), cut=st.integers(0, 400))
def test_a_file_cut_anywhere_reads_as_its_whole_lines(tmp_path_factory, rows, cut):
    folder = tmp_path_factory.mktemp("run")
    for row in rows:
        append_metrics(folder, row, SweepStore(folder))
    assert read_metrics(folder) == rows
    path = folder / "metrics.jsonl"
    content = path.read_bytes()[:cut] if rows else b""
    path.write_bytes(content)
    kept = read_metrics(folder)
    assert kept == rows[: len(kept)]
    append_metrics(folder, {"new": 1.0}, SweepStore(folder))
    assert read_metrics(folder) == [*kept, {"new": 1.0}]
    assert all(json.loads(line) for line in path.read_text().splitlines() if line != "{}")


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
