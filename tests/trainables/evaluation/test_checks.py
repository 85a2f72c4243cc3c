"""The rules by which numbers are judged, and their results as metrics."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.evaluation import checks

SOUND = {
    "chance": 0.1,
    "clean": 0.98,
    "fgsm": 0.9,
    "rfgsm": 0.93,
    "pgd": 0.8,
    "largest_rise": 0.0,
    "large_epsilon": 0.0,
    "white_box": 0.75,
    "black_box": 0.85,
    "zero_gradients": 0.0,
    "gradient_cosine": 0.6,
}
UNSOUND = {
    "chance": 0.1,
    "random_start": {"rfgsm": 0.79},
    "iterative": {"pgd": 0.91},
    "label_leaking": {"clean": 0.89},
    "falling_curve": {"largest_rise": 0.01},
    "large_epsilon": {"large_epsilon": 0.2},
    "black_box": {"black_box": 0.72},
    "zero_gradients": {"zero_gradients": 0.001},
    "gradient_cosine": {"gradient_cosine": -0.04},
}


class TestApplyChecks:
    def test_a_sound_net_passes_every_check(self):
        assert checks.apply_checks(SOUND) == dict.fromkeys(checks.CHECKS, True)

    @pytest.mark.parametrize("check", checks.CHECKS)
    def test_each_check_fails_alone(self, check):
        verdict = checks.apply_checks({**SOUND, **UNSOUND[check]})
        assert [name for name, passes in verdict.items() if not passes] == [check]

    def test_what_was_not_measured_is_not_judged(self):
        assert checks.apply_checks({"zero_gradients": 0.0, "fgsm": 0.5}) == {"zero_gradients": True}

    def test_as_numbers(self):
        metrics = checks.as_metrics({"iterative": False, "black_box": True, "random_start": False})
        assert metrics == {
            "masking_iterative": 1.0,
            "masking_black_box": 0.0,
            "masking_random_start": 1.0,
            "masking_failures": 2.0,
        }


@given(st.dictionaries(st.floats(0, 1), st.floats(0, 1), min_size=1))
def test_the_largest_rise_is_zero_exactly_when_the_curve_falls(curve):
    accuracies = [curve[epsilon] for epsilon in sorted(curve)]
    rise = checks.largest_rise(curve)
    assert (rise <= 0) is (accuracies == sorted(accuracies, reverse=True))
    assert rise <= max(accuracies) - min(accuracies)


@given(st.dictionaries(st.sampled_from(list(checks.CHECKS)), st.booleans()))
def test_metrics_say_which_checks_pass(passes):
    metrics = {"clean": 0.5, **checks.as_metrics(passes)}
    assert checks.from_metrics(metrics) == passes
    assert metrics[checks.MASKING_FAILURES] == list(passes.values()).count(False)
