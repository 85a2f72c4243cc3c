"""How a cluster is divided among sweeps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.execution.ray_tune.fair_share import Claim, fair_shares

CLAIMS = st.dictionaries(
    st.text("abc", min_size=1, max_size=3),
    st.builds(Claim, st.integers(0, 30), st.sampled_from([0.5, 1, 2]), st.sampled_from([0, 0.1, 0.25, 1])),
    min_size=1,
    max_size=6,
)
TOTAL = st.fixed_dictionaries({"CPU": st.integers(1, 40), "GPU": st.integers(0, 8)})


@pytest.mark.parametrize(
    ("total", "claims", "expected"),
    [
        ({"CPU": 4}, {"a": (9, 1, 0)}, {"a": 4}),
        ({"CPU": 4}, {"a": (9, 1, 0), "b": (9, 1, 0)}, {"a": 2, "b": 2}),
        ({"CPU": 5}, {"a": (9, 1, 0), "b": (9, 1, 0)}, {"a": 3, "b": 2}),
        ({"CPU": 4}, {"a": (1, 1, 0), "b": (9, 1, 0)}, {"a": 1, "b": 3}),
        ({"CPU": 1}, {"a": (9, 1, 0), "b": (9, 1, 0)}, {"a": 1, "b": 1}),
        # Ghodsi et al. 2011, figure 3 in our words: the one needs more of the processors, the other of the GPUs.
        ({"CPU": 9, "GPU": 18}, {"a": (99, 1, 4), "b": (99, 3, 1)}, {"a": 3, "b": 2}),
        # A sweep on GPUs leaves the processors that it cannot use to one that needs nothing else.
        ({"CPU": 64, "GPU": 4}, {"gpu": (99, 1, 1), "cpu": (99, 1, 0)}, {"gpu": 4, "cpu": 60}),
        ({"CPU": 8, "GPU": 1}, {"a": (99, 1, 0.1)}, {"a": 8}),
        ({"CPU": 16, "GPU": 1}, {"a": (99, 1, 0.1)}, {"a": 10}),
    ],
)
def test_known_divisions(total, claims, expected):
    assert fair_shares(total, {name: Claim(*claim) for name, claim in claims.items()}) == expected


@given(TOTAL, CLAIMS)
def test_nobody_is_left_out_nobody_has_more_than_it_wants_and_no_more_is_given_than_there_is(total, claims):
    shares = fair_shares(total, claims)
    assert shares.keys() == claims.keys()
    assert all(1 <= shares[name] <= max(claim.wanted, 1) for name, claim in claims.items())
    for name in total:
        given_out = sum(shares[one] * claim.amounts.get(name, 0.0) for one, claim in claims.items())
        beyond_one = any(shares[one] > 1 and name in claim.amounts for one, claim in claims.items())
        assert given_out <= total[name] + 1e-6 or not beyond_one


@given(TOTAL, CLAIMS)
def test_equal_sweeps_differ_by_one_at_most(total, claims):
    first = next(iter(claims.values()))
    shares = fair_shares(total, {**dict.fromkeys(("x", "y", "z"), first), **claims})
    equal = [shares[name] for name in "xyz" if name not in claims]
    assert not equal or max(equal) - min(equal) <= 1


@given(TOTAL, CLAIMS, st.text("abc", min_size=1, max_size=3))
def test_a_sweep_that_leaves_makes_nobody_poorer_among_equals(total, claims, gone):
    equal = {name: Claim(claim.wanted, 1, 0) for name, claim in claims.items()}
    before = fair_shares(total, equal)
    left = {name: claim for name, claim in equal.items() if name != gone}
    after = fair_shares(total, left)
    assert all(after[name] >= before[name] for name in left)
