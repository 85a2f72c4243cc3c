"""A report opened from disk in a real browser: every chart is drawn, on every screen, in light and dark."""

from __future__ import annotations

import pytest

from tests.support.browser import CHROMIUM, DESKTOP, PHONE, browser_page
from tests.tuner.conftest import train
from tuner.results.report.page import write_report
from tuner.search.ledger import Ledger
from tuner.sweep.snapshot import read_snapshot

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed: apt-get install chromium"),
]
SHOW_ALL = "window.dispatchEvent(new Event('beforeprint'))"
UNDRAWN = "[...document.querySelectorAll('.chart')].filter(box => !box.querySelector('.main-svg')).length"
NUM_CHARTS = "document.querySelectorAll('.chart').length"
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
COLOURS = "[getComputedStyle(document.body).color, document.querySelector('.chart text.xtitle').style.fill]"


def test_every_chart_is_drawn_at_every_width_in_light_and_dark(make_sweep, tmp_path):
    sweep = make_sweep(replace=("trials: 4", "trials: 12"))
    ledger = Ledger(sweep)
    while (run := ledger.next_run()) is not None:
        train(ledger, run, robust=0.05 * (1 + run.number))
    report = write_report(read_snapshot(sweep, with_rows=True), tmp_path / "report.html")
    with browser_page() as page:
        for scheme in ("light", "dark"):
            page.prefer(scheme)
            for size in (DESKTOP, PHONE):
                page.resize(size)
                page.open(report.as_uri())
                page.wait_for("window.Plotly !== undefined")
                page.run(SHOW_ALL)
                page.wait_for(f"({UNDRAWN}) === 0")
                assert page.run(NUM_CHARTS) >= 6
                assert page.run(OVERFLOW) <= 0
                text, title = page.run(COLOURS)
                assert text == title
        assert page.errors == []
