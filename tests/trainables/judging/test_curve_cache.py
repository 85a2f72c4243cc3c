"""A curve is measured once for the same code, settings and weights, and again whenever the cache does not help."""

import torch

from trainables.judging.curve_cache import cached_curve

CURVE = {0.0: 0.99, 0.05: 0.5, 0.1: 0.1 + 0.2}
WEIGHTS = {"layer.weight": torch.ones(2, 3), "scale": torch.tensor(0.5, dtype=torch.bfloat16)}


class Measuring:
    """Counts how often the curve is measured."""

    def __init__(self):
        self.times = 0

    def __call__(self):
        self.times += 1
        return dict(CURVE)


def keep(measure, identity=("code", {"seed": 1}), weights=WEIGHTS):
    assert cached_curve(identity, weights, measure) == CURVE


def test_it_is_measured_again_for_other_weights_settings_and_code_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path))
    measure = Measuring()
    for _ in range(2):
        keep(measure)
    assert measure.times == 1
    keep(measure, identity=("other code", {"seed": 1}))
    keep(measure, identity=("code", {"seed": 2}))
    keep(measure, weights={**WEIGHTS, "scale": torch.tensor(0.25, dtype=torch.bfloat16)})
    keep(measure, weights={"other.name": WEIGHTS["layer.weight"], "scale": WEIGHTS["scale"]})
    keep(measure, weights={**WEIGHTS, "layer.weight": torch.ones(3, 2)})
    assert measure.times == 6


def test_a_damaged_file_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path))
    measure = Measuring()
    keep(measure)
    (path,) = (tmp_path / "curves").iterdir()
    whole = path.read_bytes()
    for damage in (b"", b"{}", whole.replace(b"0.99", b"0.98"), whole[:40]):
        path.write_bytes(damage)
        keep(measure)
        assert path.read_bytes() == whole
    assert measure.times == 5


def test_a_cache_that_cannot_be_used_keeps_nothing(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", "~no-such-user/cache"):
        monkeypatch.setenv("TUNER_CACHE", str(folder))
        measure = Measuring()
        for _ in range(2):
            keep(measure)
        assert measure.times == 2
