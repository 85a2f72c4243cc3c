"""What changes over a run: pure functions of its progress, the share of the compute that is spent, in [0, 1]."""

from __future__ import annotations


def warmed_up(value: float, warmup: float, progress: float) -> float:
    """Return a value that grows linearly from zero over the first ``warmup`` of the run."""
    return value * min(1.0, progress / warmup) if warmup else value


def learning_rate_factor(schedule: str, progress: float) -> float:
    """Return the learning rate now as a share of the highest; see `ClassifierConfig` for the schedules."""
    match schedule:
        case "cyclic":
            return progress / 0.4 if progress < 0.4 else (1.0 - progress) / 0.6
        case "step":
            return 1.0 if progress < 0.5 else 0.1 if progress < 0.75 else 0.01
        case _:
            return 1.0
