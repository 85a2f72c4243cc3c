"""What confirming found, for people: two tables and the sentences that may be said. From ``confirm.json`` alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table

from tuner.results.confirmation import SIGNIFICANT
from tuner.statistics import LEVEL, MIN_BOOTSTRAP
from tuner.sweep.runs import MEASURES

_LEVEL = f"{100 * LEVEL:g} %"


def configurations_table(found: Mapping[str, Any]) -> Table:
    """Return every configuration with its means over the fresh seeds, each with its interval, in percent."""
    table = Table(
        title=f"{found['sweep']}: {found['images']:,} test images, epsilon {found['epsilon']:g}, tier {found['tier']}: "
        f"mean over fresh seeds ({_LEVEL}, Student's t)"
    )
    for column in ("configuration", "trainable", "seeds"):
        table.add_column(column, no_wrap=column == "configuration")
    for column in ("validation", *MEASURES):
        table.add_column(column, justify="right")
    for one in sorted(found["configurations"], key=lambda one: _place(found, one)):
        is_winner = one["name"] == found["winner"]
        style = "bold" if is_winner else "cyan" if one["baseline"] else "dim" if one["out"] else None
        cells = [_cell(one["validation"], found["metric"])]
        cells += [_cell(one["test"].get(metric), metric) for metric in MEASURES.values()]
        seeds = str(sum(run["validation"] is not None for run in one["runs"]))
        name = one["name"].removeprefix("baseline-") + (" *" if is_winner else "")
        masked = f" ({one['masked']} masked)" if one["masked"] else ""
        table.add_row(name, one["label"] + masked, seeds, *cells, style=style)
    return table


def differences_table(found: Mapping[str, Any]) -> Table:
    """Return the winner's lead over each baseline in pairs of equal seeds, with both intervals and p-values."""
    table = Table(
        title=f"{found['winner']} against each baseline: points of {_words(found['test_metric'])} on test images, "
        f"pairs of equal seeds"
    )
    table.add_column("against")
    for column in ("pairs", "difference", f"{_LEVEL} Student's t", f"{_LEVEL} bootstrap (BCa)", "p", "p (Holm)"):
        table.add_column(column, justify="right")
    for one in found["differences"]:
        intervals = [_points(one["student"]), _points(one["bootstrap"])]
        p_values = [_p(one["p_value"]), _p(one["p_corrected"])]
        table.add_row(one["against"], str(one["pairs"]), f"{100 * one['mean']:+.1f}", *intervals, *p_values)
    return table


def sentences(found: Mapping[str, Any]) -> list[str]:
    """Return what may be said, in plain words."""
    return list(_sentences(found))


def _sentences(found: Mapping[str, Any]) -> Iterator[str]:
    racing = [one for one in found["configurations"] if not one["baseline"]]
    for one in racing:
        if one["out"]:
            yield f"{one['name']} cannot win: {one['out']}."
    if found["winner"] is None:
        yield f"No configuration of {found['sweep']} is confirmed."
        return
    winner = next(one for one in racing if one["name"] == found["winner"])
    metric, num_seeds = found["test_metric"], len(found["seeds"])
    test = winner["test"][metric]
    yield (
        f"Confirmed: {winner['name']} ({winner['label']}), {100 * test['mean']:.1f} % {_words(metric)} on "
        f"{found['images']:,} test images ({_LEVEL}: {_points((test['low'], test['high']), signed=False)}, Student's t "
        f"over {num_seeds} fresh seeds)."
    )
    yield from _ties(found, racing)
    for one in found["differences"]:
        yield _difference(one, metric)
    if found["differences"] and found["differences"][0]["method"] == "student":
        yield (
            f"Intervals are Student's t: the bootstrap of fewer than {MIN_BOOTSTRAP} pairs is too short. They are over "
            f"seeds, on the same test images; p-values are of paired t-tests, Holm-corrected."
        )


def _ties(found: Mapping[str, Any], racing: list[Any]) -> Iterator[str]:
    able, tied, num_seeds = [one for one in racing if one["out"] is None], found["tied"], len(found["seeds"])
    if tied and len(tied) == len(able) - 1:
        yield (
            f"The top {len(able)} are not distinguishable with {num_seeds} seeds: {found['winner']} has the best mean "
            f"of {_words(found['metric'])} on validation images, no more. "
            f"`tuner confirm {found['sweep']} --seeds {2 * num_seeds}` adds seeds."
        )
    elif tied:
        yield f"{found['winner']} is not distinguishable from {', '.join(tied)} with {num_seeds} seeds."
    elif len(racing) > 1:
        yield f"{found['winner']} is distinguishable from the others of the top {len(racing)} on validation images."


def _difference(one: Mapping[str, Any], metric: str) -> str:
    lead = f"{100 * one['mean']:+.1f} points of {_words(metric)}"
    sure = f"{_LEVEL}: {_points(one['interval'])}; p {_p(one['p_corrected'], sign=True)}; {one['pairs']} pairs"
    if one["p_corrected"] >= SIGNIFICANT:
        return f"Not distinguishable from {one['against']}: {lead} ({sure})."
    return f"{'Better' if one['mean'] > 0 else 'Worse'} than {one['against']}: {lead} ({sure})."


def _place(found: Mapping[str, Any], one: Mapping[str, Any]) -> tuple[bool, bool, float]:
    """The winner first, then the others by their means, baselines among them; those without a run last."""
    sign = 1 if found["mode"] == "min" else -1
    values = one["validation"]
    return one["name"] != found["winner"], values is None, sign * values["mean"] if values else 0.0


def _cell(spread: Mapping[str, Any] | None, metric: str) -> str:
    if spread is None:
        return "-"
    scale, digits = (100, 1) if metric.endswith("_accuracy") else (1, 3)
    text = f"{scale * spread['mean']:.{digits}f}"
    if spread["low"] is None:
        return text
    low, high = scale * spread["low"], scale * spread["high"]
    if metric.endswith("_accuracy"):  # the interval knows nothing of where accuracies end
        low, high = max(low, 0.0), min(high, 100.0)
    return f"{text} ({low:.{digits}f}-{high:.{digits}f})"


def _points(interval: Any, *, signed: bool = True) -> str:
    if interval is None or interval[0] is None:
        return "-"
    low, high = (100 * bound for bound in interval)
    return f"{low:+.1f} to {high:+.1f}" if signed else f"{max(low, 0.0):.1f}-{min(high, 100.0):.1f}"


def _p(value: float, *, sign: bool = False) -> str:
    small = value < 0.0005
    return "< 0.001" if small else f"{'= ' if sign else ''}{value:.3f}"


def _words(metric: str) -> str:
    return metric.replace("_", " ")
