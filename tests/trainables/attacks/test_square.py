"""Square attack: stripes, then squares, kept where they help; only forward passes."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trainables.attacks.test_apgd import Recorder
from tests.trainables.conftest import random_problem, rng_of
from trainables.attacks.losses import margin
from trainables.attacks.square import square


class TestSquare:
    def test_begins_with_stripes_from_top_to_bottom(self):
        model, _, _ = random_problem(30)
        images = torch.full((6, 1, 28, 28), 0.5)
        labels = model(images).argmax(-1)
        recorder = Recorder(model)
        square(recorder, images, labels, 0.01, queries=0, rng=rng_of())
        stripes = recorder.batches[1] - images
        torch.testing.assert_close(stripes.abs(), torch.full_like(images, 0.01))
        assert torch.equal(stripes, stripes[:, :, :1].expand_as(stripes))
        assert 0.3 < (stripes[:, :, 0] > 0).float().mean() < 0.7

    def test_every_query_differs_by_one_square_from_the_best_so_far(self):
        model, images, _ = random_problem(31)
        labels = model(images).argmax(-1)
        recorder = Recorder(model)
        square(recorder, images, labels, 1e-3, queries=200, rng=rng_of())
        best, highest, widths = recorder.batches[1], margin(model(recorder.batches[1]), labels), []
        for batch in recorder.batches[2:]:
            changed = (batch != best).flatten(1)
            rows, columns = changed.view(-1, 28, 28).any(2), changed.view(-1, 28, 28).any(1)
            widths.append(int(max(extent(rows).max(), extent(columns).max())))
            loss = margin(model(batch), labels)
            best = torch.where((loss > highest).view(-1, 1, 1, 1), batch, best)
            highest = torch.maximum(loss, highest)
        assert widths[0] <= 25
        assert max(widths[2:]) <= 18
        assert max(widths[170:]) == 1

    @given(seed=st.integers(0, 2**32), epsilon=st.floats(0.01, 1))
    @settings(deadline=None, max_examples=20)
    def test_every_pixel_goes_to_an_end_of_the_ball(self, seed, epsilon):
        model, images, _ = random_problem(seed)
        labels = model(images).argmax(-1)
        recorder = Recorder(model)
        square(recorder, images, labels, epsilon, queries=10, rng=rng_of(seed))
        low, high = (images - epsilon).clamp_min(0), (images + epsilon).clamp_max(1)
        for batch in recorder.batches[1:]:
            if len(batch) == len(images):
                assert (((batch - low).abs() < 1e-6) | ((batch - high).abs() < 1e-6)).all()

    def test_an_image_that_stays_correct_is_returned_at_its_highest_margin(self):
        model, images, _ = random_problem(32)
        labels = model(images).argmax(-1)
        recorder = Recorder(model)
        adversarial = square(recorder, images, labels, 1e-3, queries=50, rng=rng_of())
        assert torch.equal(model(adversarial).argmax(-1), labels)
        margins = torch.stack([margin(model(batch), labels) for batch in recorder.batches[1:]])
        assert len(margins) == 51
        torch.testing.assert_close(margin(model(adversarial), labels), margins.amax(0))

    def test_only_survivors_are_attacked_further(self, trained, digits):
        images, labels = digits.test.batch(torch.arange(100))
        recorder = Recorder(trained)
        adversarial = square(recorder, images, labels, 0.06, queries=50, rng=rng_of())
        is_wrong = trained(images).argmax(-1) != labels
        sizes = [len(batch) for batch in recorder.batches]
        assert torch.equal(adversarial[is_wrong], images[is_wrong])
        assert sizes[:2] == [100, 100 - is_wrong.sum()]
        assert sizes == sorted(sizes, reverse=True)
        assert (trained(adversarial).argmax(-1) == labels).sum() <= sizes[-1] < 95

    def test_needs_no_gradient(self):
        def model(inputs):  # in steps, so that no gradient tells anything
            assert not torch.is_grad_enabled()
            dark = (inputs < 0.45).flatten(1).sum(1)
            return torch.stack([300.0 - dark, dark - 300.0], -1).round()

        images, labels = torch.full((20, 1, 28, 28), 0.5), torch.zeros(20, dtype=torch.int64)
        adversarial = square(model, images, labels, 0.1, queries=100, rng=rng_of())
        with torch.no_grad():
            assert (model(adversarial).argmax(-1) == 1).all()

    def test_no_correct_image_is_no_work(self):
        model, images, _ = random_problem(33)
        wrong = (model(images).argmax(-1) + 1) % 10
        recorder = Recorder(model)
        assert torch.equal(square(recorder, images, wrong, 0.1, queries=20, rng=rng_of()), images)
        assert len(recorder.batches) == 1

    def test_more_queries_find_more(self, trained, digits):
        images, labels = digits.test.batch(torch.arange(100))

        def num_right(queries):
            adversarial = square(trained, images, labels, 0.06, queries=queries, rng=rng_of())
            return (trained(adversarial).argmax(-1) == labels).sum()

        assert num_right(100) < num_right(10) < num_right(0)


def extent(lines):
    """Return from the first to the last line that has changed: ``(batch, 28) -> (batch,)``."""
    places = torch.arange(28).expand_as(lines)
    first = torch.where(lines, places, 28).amin(1)
    last = torch.where(lines, places, -1).amax(1)
    return (last - first + 1).clamp_min(0)
