"""A sampler by a Gaussian process over configuration and step, which predicts how a trial's curve ends.

It was tried beside TPE, see docs/results/search.md, and is no sampler of a space.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

NUM_STARTUP = 5
NUM_STEPS = 40  # of Adam
NUM_UNIFORM, NUM_NEAR = 256, 64  # candidates, unless the domains have fewer points
_SERVES = 4  # trials that the same hyperparameters serve
_POINTS = 4  # of a curve: its last report, and those at a half, a quarter and an eighth of that


@dataclass
class Fitted:
    """Hyperparameters of a search, and the number of trials from which on they are found anew."""

    raw: torch.Tensor | None = None
    until: int = 0


class CurveSampler(BaseSampler):
    """Proposes the candidate with the largest expected improvement at the end of a trial.

    The kernel over configurations x and shares t of a trial is a(t) a(t') [ARD Matern(x) Matern(t) + additive
    Matern(x) Matern(t) + (same trial) Matern(t)] + Matern(t) + noise, a(t) a power of t, so that what a warm-up reports
    says little. Hyperparameters are those of highest posterior density, found anew for every fourth trial. Trials that
    have not ended count with what they are predicted to reach.

    Args:
        domains: of all parameters, by name.
        num_reports: of a full trial.
        seed: of the draws.
        fitted: that the samplers of one search share.
    """

    def __init__(self, domains: dict[str, BaseDistribution], num_reports: int, seed: int, fitted: Fitted) -> None:
        self._fitted = fitted
        self._domains = domains
        self._num_reports = num_reports
        self._seed = seed
        self._random = RandomSampler(seed=seed)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._domains

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        sign = 1.0 if study.direction == StudyDirection.MAXIMIZE else -1.0
        others = [each for each in study.get_trials(deepcopy=False) if each.number != trial.number]
        told = [each for each in others if each.intermediate_values or each.state == TrialState.COMPLETE]
        ended = [each for each in told if each.state == TrialState.COMPLETE]
        if len(told) < NUM_STARTUP or not ended:
            return {
                name: self._random.sample_independent(study, trial, name, domain)
                for name, domain in self._domains.items()
            }
        dice = np.random.default_rng(self._seed)
        rows = self._candidates(dice, others, max(ended, key=lambda each: sign * (each.value or 0.0)))
        rows = list({tuple(row.items()): row for row in rows}.values())
        gain = self._gains(others, rows, sign)
        return dict(rows[int(np.argmax(gain))])

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def _candidates(
        self, dice: np.random.Generator, others: Sequence[FrozenTrial], best: FrozenTrial
    ) -> list[dict[str, Any]]:
        tried = [each.params for each in others]
        rows: list[dict[str, Any]] = []
        for index in range(NUM_UNIFORM + NUM_NEAR):
            row = {}
            for name, domain in self._domains.items():
                if isinstance(domain, CategoricalDistribution):
                    keep = index >= NUM_UNIFORM and dice.random() < 0.7
                    row[name] = best.params[name] if keep else domain.choices[dice.integers(len(domain.choices))]
                    continue
                low, high = (math.log(end) if domain.log else end for end in (domain.low, domain.high))
                value = dice.uniform(low, high)
                if index >= NUM_UNIFORM:
                    centre = math.log(best.params[name]) if domain.log else best.params[name]
                    value = min(max(dice.normal(centre, 0.1 * (high - low)), low), high)
                row[name] = min(max(math.exp(value) if domain.log else value, domain.low), domain.high)
                if hasattr(domain, "step") and domain.step and not domain.log:
                    row[name] = domain.low + round((row[name] - domain.low) / domain.step) * domain.step
                    row[name] = int(row[name]) if isinstance(domain.step, int) else row[name]
            if row not in tried:
                rows.append(row)
        return rows or [dict(best.params)]

    def _places(self, rows: Sequence[dict[str, Any]]) -> torch.Tensor:
        columns = []
        for name, domain in self._domains.items():
            values = [row[name] for row in rows]
            if isinstance(domain, CategoricalDistribution):
                choices = list(domain.choices)
                if all(isinstance(each, int | float) and not isinstance(each, bool) for each in choices):
                    columns.append([choices.index(value) / max(len(choices) - 1, 1) for value in values])
                else:
                    columns += [[float(value == each) / math.sqrt(2) for value in values] for each in choices]
            else:
                low, high = (math.log(end) if domain.log else end for end in (domain.low, domain.high))
                columns.append([((math.log(v) if domain.log else v) - low) / (high - low) for v in values])
        return torch.tensor(columns, dtype=torch.float64).T

    def _gains(self, others: Sequence[FrozenTrial], rows: Sequence[dict[str, Any]], sign: float) -> np.ndarray:
        places = self._places([each.params for each in others])
        owner, share, value = [], [], []
        for index, each in enumerate(others):
            reports = dict(each.intermediate_values)
            if each.state == TrialState.COMPLETE:
                reports[self._num_reports] = each.value
            if not reports:
                continue
            last = max(reports)
            for step in {max(round(last / 2**half), 1) for half in range(_POINTS)}:
                if step in reports:
                    owner.append(index)
                    share.append(step / self._num_reports)
                    value.append(sign * reports[step])
        ys = torch.tensor(value, dtype=torch.float64)
        is_end = torch.tensor(share) == 1.0
        middle, spread = ys[is_end].mean(), torch.clamp(ys.std(), min=1e-6)
        model = _Model(places, torch.tensor(owner), torch.tensor(share, dtype=torch.float64), (ys - middle) / spread)
        if self._fitted.raw is None or len(others) >= self._fitted.until:
            model.fit()
            self._fitted.raw, self._fitted.until = model.raw, len(others) + _SERVES
        else:
            model.raw = self._fitted.raw
        best = float(((ys[is_end] - middle) / spread).max())
        unended = [i for i, each in enumerate(others) if each.state == TrialState.RUNNING]
        mean, deviation = model.predict(self._places(rows), unended)
        score = (mean - best) / deviation
        normal = torch.distributions.Normal(0.0, 1.0)
        return (deviation * (score * normal.cdf(score) + torch.exp(normal.log_prob(score)))).numpy()


def _matern(distance: torch.Tensor) -> torch.Tensor:
    scaled = math.sqrt(5) * distance
    return (1 + scaled + scaled**2 / 3) * torch.exp(-scaled)


class _Model:
    """The Gaussian process.

    Args:
        places: of the trials, (trials, columns).
        owner: the trial of each point.
        share: of a full trial at each point.
        ys: what was reported at each point, standardised.
    """

    def __init__(self, places: torch.Tensor, owner: torch.Tensor, share: torch.Tensor, ys: torch.Tensor) -> None:
        self.places, self.owner, self.share, self.ys = places, owner, share, ys
        columns = places.shape[1]
        # log lengthscales, log lengthscale of time, log weights of the four parts, log noise, log power
        start = [math.log(0.5)] * columns + [math.log(1.0), 0.0, 0.0, -1.5, -1.5, -3.0, math.log(1.5)]
        self.middle = torch.tensor(start, dtype=torch.float64)
        self.width = torch.tensor([0.7] * columns + [0.5, 0.7, 0.7, 0.7, 0.7, 0.7, 0.4], dtype=torch.float64)
        self.raw = self.middle.clone()

    def kernel(
        self, raw: torch.Tensor, left: tuple[torch.Tensor, ...], right: tuple[torch.Tensor, ...]
    ) -> torch.Tensor:
        columns = self.places.shape[1]
        lengths = raw[:columns].exp()
        time, whole, added, own, common = raw[columns : columns + 5].exp()
        power = raw[columns + 6].exp()
        (x, t, who), (z, s, other) = left, right
        apart = (x[:, None] - z[None]) / lengths
        shrink = t[:, None] ** power * s[None] ** power
        logs = (t.log2()[:, None] - s.log2()[None]).abs()
        alike = _matern(logs / (3 * time))
        together = _matern((apart**2).sum(-1).clamp(min=1e-12).sqrt())
        each = _matern(apart.abs()).mean(-1)
        same = (who[:, None] == other[None]).to(x.dtype)
        return shrink * alike * (whole * together + added * each + own * same) + common * alike

    def points(self) -> tuple[torch.Tensor, ...]:
        return self.places[self.owner], self.share, self.owner

    def loss(self, raw: torch.Tensor) -> torch.Tensor:
        covariance = self.kernel(raw, self.points(), self.points())
        noise = raw[self.places.shape[1] + 5].exp() + 1e-6
        factor = torch.linalg.cholesky(covariance + noise * torch.eye(len(self.ys), dtype=torch.float64))
        solved = torch.linalg.solve_triangular(factor, self.ys[:, None], upper=False)
        prior = (((raw - self.middle) / self.width) ** 2).sum()
        return 0.5 * (solved**2).sum() + factor.diagonal().log().sum() + 0.5 * prior

    def fit(self) -> None:
        raw = self.middle.clone().requires_grad_(True)
        optimizer = torch.optim.Adam([raw], lr=0.1)
        for _ in range(NUM_STEPS):
            optimizer.zero_grad()
            self.loss(raw).backward()
            optimizer.step()
        self.raw = raw.detach()

    @torch.no_grad()
    def predict(self, rows: torch.Tensor, unended: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and standard deviation at the end of trials, once those that run have ended as predicted."""
        points, ys = self.points(), self.ys
        if unended:
            who = torch.tensor(unended)
            ends = (self.places[who], torch.ones(len(who), dtype=torch.float64), who)
            mean, _ = self._at(ends, points, ys)
            points = tuple(torch.cat(pair) for pair in zip(points, ends, strict=True))
            ys = torch.cat([ys, mean])
        fresh = torch.arange(len(rows)) + len(self.places)
        return self._at((rows, torch.ones(len(rows), dtype=torch.float64), fresh), points, ys)

    def _at(
        self, where: tuple[torch.Tensor, ...], points: tuple[torch.Tensor, ...], ys: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        noise = self.raw[self.places.shape[1] + 5].exp() + 1e-6
        covariance = self.kernel(self.raw, points, points) + noise * torch.eye(len(ys), dtype=torch.float64)
        factor = torch.linalg.cholesky(covariance)
        across = torch.linalg.solve_triangular(factor, self.kernel(self.raw, points, where), upper=False)
        mean = across.T @ torch.linalg.solve_triangular(factor, ys[:, None], upper=False)[:, 0]
        columns = self.places.shape[1]
        _, whole, added, own, common = self.raw[columns : columns + 5].exp()
        variance = whole + added + own + common - (across**2).sum(0)
        return mean, variance.clamp(min=1e-9).sqrt()
