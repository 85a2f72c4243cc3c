"""Shows the result of confirming a sweep, which ``confirm.json`` holds: two tables, and sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trainables.evaluation.metrics import accuracies, metric_named
from tuner.results.confirmation import SIGNIFICANT, is_better, leads_of
from tuner.results.terminal.columns import Column, Row, Table, Values
from tuner.statistics import LEVEL, MIN_BOOTSTRAP
from tuner.sweep.confirmation import Confirmation, ConfirmedConfiguration, Interval, Lead, MeanOverSeeds

_LEVEL = f"{100 * LEVEL:g} %"


def configurations_table(confirmation: Confirmation) -> Table:
    """Return a row for every configuration: its means over the fresh seeds with their intervals, in percent."""
    measured = accuracies("comparison")
    columns = (
        Column("configuration", "configuration", "name", text=_marked_name),
        Column("label", "trainable", "name", rank=6),
        Column("seeds", "seeds", rank=5),
        _mean_column("validation", confirmation.metric, "validation", rank=2),
        *(_mean_column(metric.name, metric.name, metric.label, _rank(metric.name)) for metric in measured),
    )
    ordered = sorted(confirmation.configurations, key=lambda one: _sort_key(confirmation, one))
    title = (
        f"{confirmation.sweep}: {confirmation.images:,} test images, epsilon {confirmation.epsilon:g}, "
        f"tier {confirmation.tier}: mean over fresh seeds ({_LEVEL}, Student's t)"
    )
    return Table(title, columns, tuple(_row(confirmation, one) for one in ordered))


def _row(confirmation: Confirmation, one: ConfirmedConfiguration) -> Row:
    is_winner = one.name == confirmation.winner
    style = "bold" if is_winner else "cyan" if one.is_baseline else "dim" if one.elimination_reason else None
    masked = f" ({one.num_masked} masked)" if one.num_masked else ""
    values: dict[str, object] = {
        "configuration": one.display_name,
        "label": one.label + masked,
        "winner": is_winner,
        "seeds": sum(run.validation is not None for run in one.runs),
        **_mean_values("validation", one.validation),
    }
    for metric in accuracies("comparison"):
        values |= _mean_values(metric.name, one.test.get(metric.name))
    return Row(values, style)


def _mean_values(key: str, value: MeanOverSeeds | None) -> dict[str, object]:
    parts = (None, None, None) if value is None else (value.mean, value.low, value.high)
    return dict(zip((key, f"{key}_low", f"{key}_high"), parts, strict=True))


def _mean_column(key: str, metric: str, heading: str, rank: int) -> Column:
    def text(values: Values) -> str:
        mean, low, high = (values.get(name) for name in (key, f"{key}_low", f"{key}_high"))
        return _cell(mean, low, high, metric)

    return Column(key, heading, rank=rank, text=text, better="max", also=(f"{key}_low", f"{key}_high"))


def _rank(metric: str) -> int:
    return {"robust": 0, "clean": 3}.get(metric, 4)


def _marked_name(values: Values) -> str:
    return f"{values['configuration']} *" if values["winner"] else str(values["configuration"])


def differences_table(confirmation: Confirmation) -> Table:
    """Return the winner's lead over each baseline in pairs of equal seeds, with both intervals and p-values."""
    columns = (
        Column("against", "against", "name"),
        Column("pairs", "pairs", rank=3),
        Column("difference", "difference", text=lambda values: _signed(values["difference"])),
        _interval_column("student", f"{_LEVEL} Student's t", rank=1),
        _interval_column("bootstrap", f"{_LEVEL} bootstrap (BCa)", rank=4),
        Column("p", "p", rank=2, text=lambda values: p_value_text(values["p"])),
        Column("p_holm", "p (Holm)", text=lambda values: p_value_text(values["p_holm"])),
    )
    rows = [
        Row(
            {
                "against": lead.against,
                "pairs": lead.num_pairs,
                "difference": lead.mean,
                **_interval_values("student", lead.student),
                **_interval_values("bootstrap", lead.bootstrap),
                "p": lead.p_value,
                "p_holm": lead.p_corrected,
            }
        )
        for lead in confirmation.differences
    ]
    title = (
        f"{confirmation.winner} against each baseline: points of {_words(confirmation.test_metric)} on test "
        f"images, pairs of equal seeds"
    )
    return Table(title, columns, tuple(rows))


def _interval_values(key: str, interval: Interval | None) -> dict[str, object]:
    low, high = interval or (None, None)
    return {f"{key}_low": low, f"{key}_high": high}


def _interval_column(key: str, heading: str, rank: int) -> Column:
    def text(values: Values) -> str:
        low, high = values[f"{key}_low"], values[f"{key}_high"]
        return points_text((low, high)) if isinstance(low, float) and isinstance(high, float) else "-"

    return Column(f"{key}_low", heading, rank=rank, text=text, also=(f"{key}_high",))


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
        f"({_LEVEL}: {points_text(interval, signed=False)}, Student's t over {test.seeds} fresh seeds)"
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
    yield f"{_verdict(confirmation)}: {winner.name} ({winner.label}), {_measured(confirmation, test)}."
    for lead in confirmation.differences:
        yield _lead_sentence(lead, metric)
    yield from _ties(confirmation, racing)
    yield from eliminated
    if confirmation.differences and confirmation.differences[0].method == "student":
        yield (
            f"Intervals are Student's t: the bootstrap of fewer than {MIN_BOOTSTRAP} pairs is too short. They are over "
            f"seeds, on the same test images; p-values are of paired t-tests, Holm-corrected."
        )


def _verdict(confirmation: Confirmation) -> str:
    """Return what the winner is confirmed as: better than each baseline that it was compared with."""
    doubtful = ", ".join(lead.against for lead in confirmation.differences if not is_better(lead))
    if doubtful:
        return f"Not confirmed as better than {doubtful}"
    others = ", ".join(lead.against for lead in confirmation.differences)
    return f"Confirmed as better than {others}" if others else "Measured with fresh seeds, beside no baseline"


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
    certainty = (
        f"{_LEVEL}: {points_text(lead.interval)}; p {p_value_text(lead.p_corrected, sign=True)}; {lead.num_pairs} pairs"
    )
    if lead.p_corrected >= SIGNIFICANT:
        return f"Not distinguishable from {lead.against}: {points} ({certainty})."
    return f"{'Better' if lead.mean > 0 else 'Worse'} than {lead.against}: {points} ({certainty})."


def _sort_key(confirmation: Confirmation, configuration: ConfirmedConfiguration) -> tuple[bool, bool, float]:
    """Sort the winner first, then all others by their means, and those without a complete run last."""
    sign = 1 if confirmation.mode == "min" else -1
    mean = configuration.validation
    return configuration.name != confirmation.winner, mean is None, sign * mean.mean if mean else 0.0


def _cell(mean: object, low: object, high: object, metric: str) -> str:
    if not isinstance(mean, float):
        return "-"
    is_share = metric_named(metric).is_share
    scale, digits = (100, 1) if is_share else (1, 3)
    text = f"{scale * mean:.{digits}f}"
    if not isinstance(low, float) or not isinstance(high, float):
        return text
    low, high = scale * low, scale * high
    if is_share:  # the interval knows nothing of where accuracies end
        low, high = max(low, 0.0), min(high, 100.0)
    return f"{text} ({low:.{digits}f}-{high:.{digits}f})"


def _signed(value: object) -> str:
    return f"{100 * value:+.1f}" if isinstance(value, float) else "-"


def points_text(interval: Interval | None, *, signed: bool = True) -> str:
    """Return an interval of shares in percentage points; one that is not of a difference is cut to 0 to 100."""
    if interval is None:
        return "-"
    low, high = (100 * bound for bound in interval)
    return f"{low:+.1f} to {high:+.1f}" if signed else f"{max(low, 0.0):.1f}-{min(high, 100.0):.1f}"


def p_value_text(value: object, *, sign: bool = False) -> str:
    """Return a p-value with three digits, with its sign of equality where it stands in a sentence."""
    if not isinstance(value, float):
        return "-"
    return "< 0.001" if value < 0.0005 else f"{'= ' if sign else ''}{value:.3f}"


def _words(metric: str) -> str:
    return metric_named(metric).words
