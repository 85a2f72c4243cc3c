"""Shows the result of confirming a sweep, which ``confirm.json`` holds: two tables, and sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.table import Table

from trainables.evaluation.metrics import accuracies, metric_named
from tuner.results.confirmation import SIGNIFICANT, is_better, leads_of
from tuner.statistics import LEVEL, MIN_BOOTSTRAP
from tuner.sweep.confirmation import Confirmation, ConfirmedConfiguration, Interval, Lead, MeanOverSeeds

_LEVEL = f"{100 * LEVEL:g} %"


def configurations_table(confirmation: Confirmation) -> Table:
    """Return a row for every configuration: its means over the fresh seeds with their intervals, in percent."""
    table = Table(
        title=f"{confirmation.sweep}: {confirmation.images:,} test images, epsilon {confirmation.epsilon:g}, "
        f"tier {confirmation.tier}: mean over fresh seeds ({_LEVEL}, Student's t)"
    )
    for column in ("configuration", "trainable", "seeds"):
        table.add_column(column, no_wrap=column == "configuration")
    columns = accuracies("comparison")
    for column in ("validation", *(metric.label for metric in columns)):
        table.add_column(column, justify="right")
    for one in sorted(confirmation.configurations, key=lambda one: _sort_key(confirmation, one)):
        is_winner = one.name == confirmation.winner
        style = "bold" if is_winner else "cyan" if one.is_baseline else "dim" if one.elimination_reason else None
        cells = [_cell(one.validation, confirmation.metric)]
        cells += [_cell(one.test.get(metric.name), metric.name) for metric in columns]
        seeds = str(sum(run.validation is not None for run in one.runs))
        masked = f" ({one.num_masked} masked)" if one.num_masked else ""
        name = one.display_name + (" *" if is_winner else "")
        table.add_row(name, one.label + masked, seeds, *cells, style=style)
    return table


def differences_table(confirmation: Confirmation) -> Table:
    """Return the winner's lead over each baseline in pairs of equal seeds, with both intervals and p-values."""
    table = Table(
        title=f"{confirmation.winner} against each baseline: points of {_words(confirmation.test_metric)} on test "
        f"images, pairs of equal seeds"
    )
    table.add_column("against")
    for column in ("pairs", "difference", f"{_LEVEL} Student's t", f"{_LEVEL} bootstrap (BCa)", "p", "p (Holm)"):
        table.add_column(column, justify="right")
    for lead in confirmation.differences:
        intervals = [_points(lead.student), _points(lead.bootstrap)]
        p_values = [_p(lead.p_value), _p(lead.p_corrected)]
        table.add_row(lead.against, str(lead.num_pairs), f"{100 * lead.mean:+.1f}", *intervals, *p_values)
    return table


def confirmation_sentences(confirmation: Confirmation) -> list[str]:
    """Return what follows from the result, in sentences: the winner, ties with it, and its leads."""
    return list(_sentences(confirmation))


def configuration_sentences(confirmation: Confirmation, configuration: ConfirmedConfiguration) -> list[str]:
    """Return what follows from the result for one configuration, in sentences: its accuracy, and who is better."""
    if configuration.name == confirmation.winner:
        return confirmation_sentences(confirmation)
    return list(_sentences_of_another(confirmation, configuration))


def _sentences_of_another(confirmation: Confirmation, configuration: ConfirmedConfiguration) -> Iterator[str]:
    metric, name, winner = confirmation.test_metric, configuration.display_name, confirmation.winner
    if configuration.elimination_reason and not configuration.is_baseline:
        yield f"{name} cannot win: {configuration.elimination_reason}."
    test = configuration.test.get(metric)
    if test is not None:
        yield f"{name} ({configuration.label}): {_measured(confirmation, test)}."
    for lead in leads_of(confirmation, configuration):
        yield _lead_sentence(lead, metric)
    if configuration.name in confirmation.tied:
        yield f"{winner} is better on validation images, but not distinguishably with {len(confirmation.seeds)} seeds."
    for lead in confirmation.differences:
        if configuration.is_baseline and lead.against == name:
            yield f"{winner} against {name}: {_lead_sentence(lead, metric)}"


def _measured(confirmation: Confirmation, test: MeanOverSeeds) -> str:
    """Return an accuracy on test images with its interval, as part of a sentence."""
    interval = None if test.low is None or test.high is None else (test.low, test.high)
    return (
        f"{100 * test.mean:.1f} % {_words(confirmation.test_metric)} on {confirmation.images:,} test images "
        f"({_LEVEL}: {_points(interval, signed=False)}, Student's t over {test.seeds} fresh seeds)"
    )


def _sentences(confirmation: Confirmation) -> Iterator[str]:
    racing = [one for one in confirmation.configurations if not one.is_baseline]
    eliminated = [f"{one.name} cannot win: {one.elimination_reason}." for one in racing if one.elimination_reason]
    if confirmation.winner is None:
        yield from eliminated
        yield f"No configuration of {confirmation.sweep} is confirmed."
        return
    winner = next(one for one in racing if one.name == confirmation.winner)
    metric = confirmation.test_metric
    test = winner.test[metric]
    doubtful = ", ".join(lead.against for lead in confirmation.differences if not is_better(lead))
    verdict = f"Not confirmed as better than {doubtful}" if doubtful else "Confirmed"
    yield f"{verdict}: {winner.name} ({winner.label}), {_measured(confirmation, test)}."
    for lead in confirmation.differences:
        yield _lead_sentence(lead, metric)
    yield from _ties(confirmation, racing)
    yield from eliminated
    if confirmation.differences and confirmation.differences[0].method == "student":
        yield (
            f"Intervals are Student's t: the bootstrap of fewer than {MIN_BOOTSTRAP} pairs is too short. They are over "
            f"seeds, on the same test images; p-values are of paired t-tests, Holm-corrected."
        )


def _ties(confirmation: Confirmation, racing: Sequence[ConfirmedConfiguration]) -> Iterator[str]:
    eligible = [one for one in racing if one.elimination_reason is None]
    winner, tied, num_seeds = confirmation.winner, confirmation.tied, len(confirmation.seeds)
    if tied and len(tied) == len(eligible) - 1:
        yield (
            f"The top {len(eligible)} are not distinguishable with {num_seeds} seeds: {winner} has the best mean "
            f"of {_words(confirmation.metric)} on validation images, no more. "
            f"`tuner confirm {confirmation.sweep} --seeds {2 * num_seeds}` adds seeds."
        )
    elif tied:
        yield f"{winner} is not distinguishable from {', '.join(tied)} with {num_seeds} seeds."
    elif len(racing) > 1:
        yield f"{winner} is distinguishable from the others of the top {len(racing)} on validation images."


def _lead_sentence(lead: Lead, metric: str) -> str:
    points = f"{100 * lead.mean:+.1f} points of {_words(metric)}"
    certainty = f"{_LEVEL}: {_points(lead.interval)}; p {_p(lead.p_corrected, sign=True)}; {lead.num_pairs} pairs"
    if lead.p_corrected >= SIGNIFICANT:
        return f"Not distinguishable from {lead.against}: {points} ({certainty})."
    return f"{'Better' if lead.mean > 0 else 'Worse'} than {lead.against}: {points} ({certainty})."


def _sort_key(confirmation: Confirmation, configuration: ConfirmedConfiguration) -> tuple[bool, bool, float]:
    """Sort the winner first, then all others by their means, and those without a complete run last."""
    sign = 1 if confirmation.mode == "min" else -1
    mean = configuration.validation
    return configuration.name != confirmation.winner, mean is None, sign * mean.mean if mean else 0.0


def _cell(value: MeanOverSeeds | None, metric: str) -> str:
    if value is None:
        return "-"
    is_share = metric_named(metric).is_share
    scale, digits = (100, 1) if is_share else (1, 3)
    text = f"{scale * value.mean:.{digits}f}"
    if value.low is None or value.high is None:
        return text
    low, high = scale * value.low, scale * value.high
    if is_share:  # the interval knows nothing of where accuracies end
        low, high = max(low, 0.0), min(high, 100.0)
    return f"{text} ({low:.{digits}f}-{high:.{digits}f})"


def _points(interval: Interval | None, *, signed: bool = True) -> str:
    if interval is None:
        return "-"
    low, high = (100 * bound for bound in interval)
    return f"{low:+.1f} to {high:+.1f}" if signed else f"{max(low, 0.0):.1f}-{min(high, 100.0):.1f}"


def _p(value: float, *, sign: bool = False) -> str:
    return "< 0.001" if value < 0.0005 else f"{'= ' if sign else ''}{value:.3f}"


def _words(metric: str) -> str:
    return metric_named(metric).words
