"""Writes a report as one HTML file that needs no network: the charts' library and their data are in it."""

from __future__ import annotations

import base64
import functools
import gzip
import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import plotly
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from trainables.storage.atomic import reason_of, write_whole
from trainables.storage.bounded import open_regular
from tuner.errors import UserError
from tuner.results.pictures.draw import draw_run
from tuner.results.report.content import Chart, Section
from tuner.results.report.sections import make_sections, subject
from tuner.sweep.snapshot import Snapshot

_MARK = "<!-- report of adversarial-tuner -->"


def write_report(snapshot: Snapshot, target: Path | None = None, *, with_images: bool = True) -> Path:
    """Write the report of a sweep, which appears whole or not at all, and return its path.

    Args:
        snapshot: of the sweep, with rows and evaluations.
        target: the file; by default ``reports/<sweep>.html`` right here. An older report there is replaced.
        with_images: attack images with the best classifier and the baselines, which takes seconds for each.

    Raises:
        UserError: there is something else in that place, or it cannot be written.
    """
    target = (target or Path("reports") / f"{snapshot.name}.html").absolute()
    _check_replaceable(target)
    shown = subject(snapshot) if with_images else None
    with tempfile.TemporaryDirectory() as folder:
        drawn = draw_run(snapshot, shown, Path(folder)) if shown else None
        page = render(snapshot, make_sections(snapshot, drawn))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, page.encode())
    except OSError as error:
        raise UserError(f"cannot write {target}: {reason_of(error)}; choose another --output") from error
    return target


def _check_replaceable(target: Path) -> None:
    """Check that a file is not there yet, or is a report.

    Raises:
        UserError: it is something else.
    """
    try:
        with open_regular(target) as file:
            begin = file.read(200)
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(f"cannot write {target}: {reason_of(error)}; choose another --output") from error
    if _MARK.encode() not in begin:
        raise UserError(f"{target} is there already and is no report: remove it or choose another --output")


def render(snapshot: Snapshot, sections: list[Section]) -> str:
    """Return a report as HTML.

    Args:
        snapshot: of the sweep.
        sections: of the report, see `make_sections`.
    """
    environment = Environment(
        loader=PackageLoader("tuner.results.report", "templates"), autoescape=True, undefined=StrictUndefined
    )
    environment.filters |= {"chart_json": _chart_json, "with_code": _with_code}
    charts = any(section.charts for section in sections)
    return environment.get_template("report.html").render(
        mark=Markup(_MARK),  # noqa: S704 (a constant)
        name=snapshot.name,
        space=snapshot.space,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        sections=sections,
        library=_library() if charts else "",
    )


@functools.cache
def _library() -> str:
    """Return plotly.js, compressed and as base64: as it is, it would be most of what a report may weigh."""
    source = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
    return base64.b64encode(gzip.compress(source.read_bytes(), mtime=0)).decode()


def _chart_json(chart: Chart) -> Markup:
    """Return a chart's figure as JSON that ends no script element, whatever texts are in it."""
    content = json.loads(chart.figure.to_json())
    content["layout"].pop("template", None)
    text = json.dumps(content, separators=(",", ":"))
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))  # noqa: S704


def _with_code(sentence: str) -> Markup:
    """Return a sentence whose parts between backticks are code."""
    code = Markup("<code>{}</code>")
    parts = (code.format(part) if place % 2 else escape(part) for place, part in enumerate(sentence.split("`")))
    return Markup().join(parts)
