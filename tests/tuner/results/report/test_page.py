"""The report of a sweep: what it says, what it leaves out, and that it is one file that harms nobody."""

from __future__ import annotations

import base64
import gzip
import json
import os
import re

import pytest

from tests.tuner.conftest import row, train, train_all
from tuner import Sweep
from tuner.errors import UserError
from tuner.results.compare import comparison_sentences
from tuner.results.report.page import render, write_report
from tuner.results.report.sections import make_sections
from tuner.search.ledger import Ledger
from tuner.sweep.snapshot import read_snapshot

MANY = ("trials: 4", "trials: 12")


def snapshot_of(sweep):
    return read_snapshot(sweep, with_rows=True, with_evaluations=True)


def sections_of(sweep):
    return {section.anchor: section for section in make_sections(snapshot_of(sweep))}


def charts_of(page):
    return [json.loads(text) for text in re.findall(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)]


def test_a_real_sweep_is_explained_in_one_file_without_a_link_to_anywhere(trained_sweep, tmp_path):
    written = write_report(snapshot_of(trained_sweep), tmp_path / "made" / "report.html")
    page = written.read_text()
    assert len(page) < 5_000_000
    for sentence in comparison_sentences(snapshot_of(trained_sweep)):
        assert sentence.split("`")[0] in page
    anchors = re.findall(r'<section id="(\w+)"', page)
    assert " ".join(anchors) == "verdict comparison search parameters curves training masking images origin"
    assert page.count("data:image/png;base64,") == 3
    assert not re.findall(r'(?:src|href)="(?!#|data:)', page)
    assert "cannot be told from the complete trials: 2 of at least 10" in page
    library = re.search(r'type="application/gzip">([\w+/=]+)<', page)[1]
    assert b"Plotly" in gzip.decompress(base64.b64decode(library))


def test_what_mattered_and_slices_are_shown_once_enough_trials_are_complete(make_sweep):
    sweep = make_sweep(replace=MANY)
    ledger = Ledger(sweep)
    while (run := ledger.next_run()) is not None:
        train(ledger, run, robust=0.2 + 0.05 * (run.settings.get("ratio", {}).get("kind") == "constant"))
    section = sections_of(sweep)["parameters"]
    titles = [chart.title for chart in section.charts]
    assert titles[:2] == ["What mattered", "Parameters together"]
    assert "ratio.kind" in titles[2:]


def test_the_best_at_the_edge_of_its_range_is_told(make_sweep):
    sweep = make_sweep(replace=MANY)
    ledger = Ledger(sweep)
    while (run := ledger.next_run()) is not None:
        train(ledger, run, robust=0.1 * run.settings.get("ratio", {}).get("generator_turns", 0.5))
    (told,) = sections_of(sweep)["parameters"].sentences
    assert (
        "ratio.generator_turns is 4, at the upper edge of its range from 1 to 4: better values may lie higher" in told
    )


def test_one_trial_alone_is_named_and_no_range_is_judged_by_it(make_sweep):
    sweep = make_sweep(replace=("baselines: [standard, fgsm_retraining]\n", ""), num_trials=1)
    ledger = Ledger(sweep)
    train(ledger, ledger.next_run(), robust=0.4)
    sections = sections_of(sweep)
    expected = "Best: trial-0000 (gan <0.6:1) with 40.0 % robust accuracy, and no baseline to compare it with"
    assert sections["verdict"].sentences[0] == expected
    assert not any("edge of its range" in sentence for sentence in sections["parameters"].sentences)


@pytest.mark.parametrize("ended", [0, 1])
def test_with_no_or_one_finished_run_it_says_what_it_can(make_sweep, ended):
    sweep = make_sweep()
    ledger = Ledger(sweep)
    for _ in range(ended):
        train(ledger, ledger.next_run())
    page = render(snapshot_of(sweep), make_sections(snapshot_of(sweep)))
    assert "No trial" in page
    assert "What ran, where" in page


def test_texts_of_a_space_end_no_element_and_run_nothing(make_sweep):
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>`&<b>"
    sweep = make_sweep(replace=("description: a space for tests", f'description: "{evil}"'))
    train_all(Ledger(sweep))
    (sweep.folder / "space.yaml").write_text((sweep.folder / "space.yaml").read_text() + f"# {evil}\n")
    page = render(snapshot_of(sweep), make_sections(snapshot_of(sweep)))
    assert "<img src=x" not in page
    assert "<script>alert" not in page
    assert len(charts_of(page)) > 3


def test_two_objectives_have_a_front(make_sweep):
    objectives = "objective: [{metric: robust}, {metric: clean}]\nsearch: {sampler: random"
    sweep = make_sweep(replace=("search: {sampler: random", objectives))
    ledger = Ledger(sweep)
    while (run := ledger.next_run()) is not None:
        ledger.complete(run.key, row(3, 0.1 * (run.number + 1), clean=0.9 - 0.1 * run.number))
    charts = {chart.title: chart for chart in sections_of(sweep)["search"].charts}
    assert [trace.name for trace in charts["Front"].figure.data] == [
        "other trials",
        "front",
        "standard",
        "fgsm_retraining",
    ]


def test_a_report_is_replaced_and_nothing_else_is(make_sweep, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sweep = make_sweep()
    train_all(Ledger(sweep))
    opened = Sweep.open("tiny", home=tmp_path)
    first = opened.report(images=False)
    assert first == tmp_path / "reports" / "tiny.html"
    assert opened.report(images=False) == first
    mine = tmp_path / "mine.html"
    mine.write_text("my own page")
    with pytest.raises(UserError, match=r"mine\.html is there already and is no report"):
        opened.report(mine, images=False)
    with pytest.raises(UserError, match=r"cannot write .*; choose another --output"):
        opened.report(tmp_path / "mine.html" / "below.html", images=False)
    assert mine.read_text() == "my own page"
    os.mkfifo(tmp_path / "pipe.html")
    with pytest.raises(UserError, match=r"cannot write .*pipe\.html.*not a regular file.*; choose another --output"):
        opened.report(tmp_path / "pipe.html", images=False)
