"""Statistics: against scipy, against brute force, and on simulated data whose truth is known."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from tuner.statistics import (
    bootstrap_interval,
    holm,
    image_noise,
    interval,
    is_behind,
    is_within_noise,
    paired,
    share_of_alpha,
    student_interval,
)

accuracies = st.integers(0, 1000).map(lambda count: count / 1000)
p_values = st.lists(st.floats(0, 1), min_size=1, max_size=6)


@given(pairs=st.lists(st.tuples(accuracies, accuracies), min_size=2, max_size=8))
def test_paired_differences_are_those_of_scipy(pairs):
    ours, theirs = zip(*pairs, strict=True)
    differences = np.subtract(ours, theirs)
    assume(np.ptp(differences) > 1e-9)
    found = paired(ours, theirs)
    reference = stats.ttest_rel(ours, theirs)
    assert found.mean == pytest.approx(np.mean(differences))
    assert found.p_value == pytest.approx(reference.pvalue, abs=1e-9)
    assert found.student == pytest.approx(tuple(reference.confidence_interval()), abs=1e-9)
    mirrored = paired(theirs, ours)
    assert mirrored.p_value == pytest.approx(found.p_value)
    assert mirrored.mean == pytest.approx(-found.mean)


@given(values=st.lists(accuracies, min_size=2, max_size=12))
def test_a_bootstrap_interval_holds_the_mean_and_stays_among_the_values(values):
    low, high = bootstrap_interval(values)
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9
    assert (low, high) == bootstrap_interval(values)


def test_the_interval_to_go_by_is_the_bootstrap_only_where_there_are_enough_pairs():
    few = paired([0.9, 0.8, 0.85], [0.5, 0.6, 0.5])
    many = paired([0.9, 0.8, 0.85, 0.84] * 3, [0.5, 0.6, 0.5, 0.55] * 3)
    assert (few.method, few.interval) == ("student", few.student)
    assert (many.method, many.interval) == ("bootstrap", many.bootstrap)
    assert few.student[0] < few.bootstrap[0] <= few.bootstrap[1] < few.student[1]


def test_one_pair_shows_nothing():
    found = paired([0.9], [0.1])
    assert (found.mean, found.p_value, found.interval) == (0.8, 1.0, None)


def test_equal_differences_are_no_certainty_beyond_one_image():
    assert paired([0.5, 0.6], [0.5, 0.6]).p_value == 1.0
    assert paired([0.51, 0.61], [0.5, 0.6], resolution=0.01).p_value > 0.2
    assert paired([0.9, 0.9], [0.1, 0.1], resolution=0.001).p_value < 0.05
    low, high = student_interval([0.5, 0.5, 0.5], resolution=0.01)
    assert low < 0.5 < high


@given(values=p_values)
def test_holm_is_the_closed_test_of_bonferroni(values):
    """A claim stands if every set of claims that holds it is refused (Marcus, Peritz and Gabriel 1976)."""
    indices = range(len(values))
    sets = [chosen for size in range(1, len(values) + 1) for chosen in combinations(indices, size)]
    by_brute_force = [
        max(min(1.0, len(chosen) * min(values[other] for other in chosen)) for chosen in sets if index in chosen)
        for index in indices
    ]
    assert holm(values) == pytest.approx(by_brute_force)


@given(values=p_values, order=st.randoms())
def test_holm_follows_the_order_of_its_values(values, order):
    places = list(range(len(values)))
    order.shuffle(places)
    assert holm([values[place] for place in places]) == pytest.approx([holm(values)[place] for place in places])


@given(one=accuracies, other=accuracies, images=st.integers(20, 2000))
def test_a_lead_within_noise_stays_so_when_it_shrinks(one, other, images):
    better, worse = max(one, other), min(one, other)
    assert is_within_noise(better, better, images)
    if is_within_noise(better, worse, images):
        assert is_within_noise(better, (better + worse) / 2, images)


def test_interval_covers_and_narrows():
    low, high = interval(0.9, 1000)
    assert low < 0.9 < high
    assert 0.015 < high - 0.9 < 0.02
    assert interval(0.0, 100)[0] == 0.0


@given(images=st.integers(1, 20_000), share=st.floats(0, 1))
def test_the_interval_of_an_accuracy_is_that_of_scipy(images, share):
    right = round(share * images)
    reference = stats.binomtest(right, images).proportion_ci(method="wilson")
    assert interval(right / images, images) == pytest.approx((reference.low, reference.high), abs=1e-12)


def test_noise_is_that_of_the_binomial():
    # Half of 1,000 images: the difference of two has a standard error of 2.24 points, 4.4 at 95 %.
    assert is_within_noise(0.54, 0.50, 1000)
    assert not is_within_noise(0.55, 0.50, 1000)
    assert is_within_noise(0.55, 0.50, 500)
    assert image_noise(0.5, 0.5, 1000) == pytest.approx(0.02236, abs=1e-5)
    low, high = interval(0.5, 1000)
    assert high - low == pytest.approx(2 * 1.96 * 0.0158, rel=0.01)


def race(truth: np.ndarray, spread: float, rounds: int, rng: np.random.Generator) -> tuple[bool, int]:
    """Return whether the best of the true means was lost in a race, and how many others were stopped early."""
    values = truth + spread * rng.normal(size=(rounds, len(truth)))
    racing, best = list(range(len(truth))), int(truth.argmax())
    for round_ in range(2, rounds):
        leader = max(racing, key=lambda one: values[:round_, one].mean())
        alpha = share_of_alpha(round_, len(truth) - 1)
        racing = [
            one
            for one in racing
            if one == leader or not is_behind(values[:round_, leader] - values[:round_, one], alpha, noise=0.01)
        ]
    return best not in racing, len(truth) - len(racing)


@pytest.mark.parametrize("num_others", [1, 2, 7])
@pytest.mark.parametrize("rounds", [3, 8])
def test_a_race_seldom_loses_the_best_and_stops_who_is_clearly_behind(num_others, rounds):
    rng = np.random.default_rng(0)
    close = np.array([0.80, *[0.799] * num_others])  # nearly equal: the hardest case
    lost = np.mean([race(close, 0.02, rounds, rng)[0] for _ in range(300)])
    assert lost <= 0.1
    apart = np.array([0.80, *[0.40] * num_others])
    outcomes = [race(apart, 0.005, rounds, rng) for _ in range(100)]
    assert not any(lost for lost, _ in outcomes)
    assert np.mean([stopped for _, stopped in outcomes]) > 0.9 * num_others


def test_the_rounds_of_a_race_share_one_alpha():
    assert sum(share_of_alpha(round_, 3) * 3 for round_ in range(2, 10_000)) == pytest.approx(0.1, rel=1e-3)


def test_few_images_keep_a_configuration_in_the_race():
    leads = [0.050, 0.051, 0.052]
    assert is_behind(leads, 0.02)
    assert not is_behind(leads, 0.02, noise=image_noise(0.8, 0.75, 200))
    assert not is_behind([0.5], 0.02)


def test_of_three_values_the_bootstrap_covers_less_than_it_says_and_student_does_not():
    samples = np.random.default_rng(0).normal(size=(400, 3)).tolist()

    def coverage(interval) -> float:
        found = [interval(sample) for sample in samples]
        return sum(low <= 0 <= high for low, high in found) / len(found)

    assert 0.70 < coverage(bootstrap_interval) < 0.82
    assert coverage(student_interval) > 0.92
