"""The names that metrics had in earlier releases, and the names that they have now. No torch here.

An accuracy while a run trained and the one at its end had one name, ``robust_accuracy``. Files of that time are not
rewritten: whoever reads them asks here. Which of the two a number is follows from the report that has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trainables.evaluation.metrics import WATCH, all_metrics

_SUFFIX = "_accuracy"
_GENERATOR = {"generator_accuracy": f"{WATCH}generator", "generator_success": f"{WATCH}generator_success"}


def rename_reports(reports: Sequence[Mapping[str, float]], compute: float) -> list[dict[str, float]]:
    """Return the reports of a run with the present names of their metrics.

    Args:
        reports: metrics by name; those with present names are returned as they are.
        compute: at which the run ends: a report at it is the last one, measured by stronger attacks.
    """
    names: dict[bool, dict[str, str]] = {}
    renamed = []
    for report in reports:
        if any(map(_is_earlier, report)):
            names = names or {at_end: _present_names(WATCH * (not at_end)) for at_end in (False, True)}
            of_report = names[report.get("compute", 0.0) >= compute]
            report = {of_report.get(name, name): value for name, value in report.items()}  # noqa: PLW2901
        renamed.append(dict(report))
    return renamed


def rename_results(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return what was measured at a run's end, or of a finished classifier, with the present names."""
    if not any(map(_is_earlier, metrics)):
        return dict(metrics)
    names = _present_names("")
    return {names.get(name, name): value for name, value in metrics.items()}


def present_name(name: str) -> str:
    """Return the present name of an objective or a constraint: what is measured at a run's end."""
    return _present_names("").get(name, name) if _is_earlier(name) else name


def present_watched_name(name: str) -> str:
    """Return the present name of a metric that runs are compared by while they train."""
    return _present_names(WATCH).get(name, name) if _is_earlier(name) else name


def _is_earlier(name: str) -> bool:
    return name.endswith(_SUFFIX) or name in _GENERATOR


def _present_names(prefix: str) -> dict[str, str]:
    """Return the present names by earlier ones; an attack that is in no tier any more keeps its earlier name."""
    return {
        **{f"{name.removeprefix(prefix)}{_SUFFIX}": name for name in all_metrics() if name.startswith(prefix)},
        **_GENERATOR,
    }
