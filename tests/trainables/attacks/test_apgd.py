"""APGD: what it returns, whom it attacks, how its step shrinks, and its targets."""

import pytest
import torch

from tests.trainables.conftest import random_problem, rng_of
from trainables.attacks import apgd as module
from trainables.attacks.apgd import apgd, apgd_targeted
from trainables.attacks.gradient import pgd
from trainables.attacks.losses import cross_entropy, dlr, margin

EVERY_LOSS = pytest.mark.parametrize("loss", [cross_entropy, margin, dlr])


class Recorder:
    """A net that remembers every batch that it was recorder about."""

    def __init__(self, model):
        self.model = model
        self.batches = []

    def __call__(self, images):
        self.batches.append(images.detach().clone())
        return self.model(images)


class TestApgd:
    @EVERY_LOSS
    def test_an_image_that_stays_correct_is_returned_at_its_highest_loss(self, loss):
        model, images, _ = random_problem(20)
        labels = model(images).argmax(-1)
        recorder = Recorder(model)
        adversarial = apgd(recorder, images, labels, 2e-3, steps=10, loss=loss, restarts=3, rng=rng_of())
        assert torch.equal(model(adversarial).argmax(-1), labels)
        losses = torch.stack([loss(model(batch), labels) for batch in recorder.batches[1:]])
        assert len(losses) == 3 * 11
        torch.testing.assert_close(loss(model(adversarial), labels), losses.amax(0))

    def test_only_survivors_are_attacked_further(self, trained, digits):
        images, labels = digits.test.batch(torch.arange(100))
        recorder = Recorder(trained)
        adversarial = apgd(recorder, images, labels, 0.04, steps=10, restarts=2, rng=rng_of())
        is_wrong, is_correct = trained(images).argmax(-1) != labels, trained(adversarial).argmax(-1) == labels
        sizes = [len(batch) for batch in recorder.batches]
        assert is_wrong.any()
        assert torch.equal(adversarial[is_wrong], images[is_wrong])
        assert sizes[:2] == [100, 100 - is_wrong.sum()]
        assert sizes == sorted(sizes, reverse=True)
        assert is_correct.sum() <= sizes[-1] < 100

    def test_a_misclassified_image_is_kept_as_it_was_then(self, trained, digits):
        images, labels = digits.test.batch(torch.arange(100))
        recorder = Recorder(trained)
        adversarial = apgd(recorder, images, labels, 0.04, steps=10, rng=rng_of())
        wrong = [
            batch[trained(batch).argmax(-1) != labels_of(batch, adversarial, labels)] for batch in recorder.batches[1:]
        ]
        first_errors = {image.numpy().tobytes() for batch in wrong for image in batch}
        was_fooled = (trained(adversarial).argmax(-1) != labels) & (trained(images).argmax(-1) == labels)
        assert was_fooled.sum() > 5
        assert all(image.numpy().tobytes() in first_errors for image in adversarial[was_fooled])

    def test_no_correct_image_is_no_work(self):
        model, images, _ = random_problem(21)
        wrong = (model(images).argmax(-1) + 1) % 10
        recorder = Recorder(model)
        assert torch.equal(apgd(recorder, images, wrong, 0.1, steps=5, restarts=3, rng=rng_of()), images)
        assert len(recorder.batches) == 1

    def test_its_steps_shrink_until_they_meet_the_top(self):
        def model(inputs):  # the closer the pixels to 0.5123, the smaller the lead of label 0, which it never loses
            lead = 0.01 + (inputs - 0.5123).square().mean((-3, -2, -1))
            return torch.stack([lead, 0 * lead], -1)

        images, labels = torch.full((3, 1, 28, 28), 0.5), torch.zeros(3, dtype=torch.int64)

        def distance(adversarial):
            return (adversarial - 0.5123).abs().max()

        still = pgd(model, images, labels, 0.1, steps=100, step_size=0.00625, rng=rng_of())
        adversarial = apgd(model, images, labels, 0.1, steps=100, rng=rng_of())
        assert distance(adversarial) < 2e-3 < 3e-3 < distance(still)

    @pytest.mark.parametrize("steps", [0, 1, 2, 7])
    def test_the_number_of_forward_passes_is_that_of_the_steps(self, steps):
        model, images, _ = random_problem(22)
        labels = model(images).argmax(-1)
        recorder = Recorder(model)
        apgd(recorder, images, labels, 1e-4, steps=steps, rng=rng_of())
        assert len(recorder.batches) == 1 + 1 + steps

    def test_restarts_find_at_least_as_much(self):
        def model(inputs):  # says 1 where the corner is bright, which no gradient tells and one start in eight finds
            corner = inputs[:, 0, :1, 0]
            return torch.cat([0 * corner + 0.5, (corner > 0.65).float()], -1)

        images, labels = torch.full((200, 1, 28, 28), 0.5), torch.zeros(200, dtype=torch.int64)

        def is_correct(restarts):
            adversarial = apgd(model, images, labels, 0.2, steps=3, restarts=restarts, rng=rng_of())
            return model(adversarial).argmax(-1) == labels

        one, many = is_correct(1), is_correct(8)
        assert not (many & ~one).any()
        assert 0.8 < one.float().mean() < 0.95
        assert 0.25 < many.float().mean() < 0.45

    def test_beats_pgd_of_as_many_steps(self, trained, digits):
        images, labels = digits.test.batch(torch.arange(200))
        adversarial = apgd(trained, images, labels, 0.03, steps=30, rng=rng_of())
        by_pgd = pgd(trained, images, labels, 0.03, steps=30, step_size=2.5 * 0.03 / 30, rng=rng_of())
        num_right = [(trained(batch).argmax(-1) == labels).sum() for batch in (adversarial, by_pgd)]
        assert num_right[0] <= num_right[1] < 200

    def test_the_checkpoints_are_the_published_ones(self):
        assert module._checkpoints(100) == {22, 41, 57, 70, 80, 87, 93, 99}
        assert module._checkpoints(1) == {1}


def labels_of(batch, adversarial, labels):
    """Return the labels of the images in a batch of survivors: those whose balls of 0.04 they are in."""
    distances = (batch.unsqueeze(1) - adversarial.unsqueeze(0)).abs().flatten(2).amax(-1)
    return labels[distances.argmin(1)]


class TestEveryTarget:
    @staticmethod
    def deceptive(images):
        """Label 1 is close to label 0 and out of reach, label 2 is further and falls where the corner is bright."""
        corner = images[:, 0, 0, 0]
        return torch.stack([0 * corner + 1, 0 * corner + 0.9, 2 * corner - 0.5, *[0 * corner - 1] * 2], -1)

    def test_finds_what_the_likeliest_wrong_label_hides(self):
        images, labels = torch.full((4, 1, 28, 28), 0.5), torch.zeros(4, dtype=torch.int64)

        def is_correct(num_targets):
            sizes = {"steps": 8, "num_targets": num_targets}
            return (
                self.deceptive(apgd_targeted(self.deceptive, images, labels, 0.3, **sizes, rng=rng_of())).argmax(-1)
                == 0
            )

        assert is_correct(1).all()
        assert not is_correct(2).any()

    def test_only_correct_images_are_attacked_towards_the_next_target(self, trained, digits):
        images, labels = digits.test.batch(torch.arange(100))
        recorder = Recorder(trained)
        adversarial = apgd_targeted(recorder, images, labels, 0.04, steps=5, num_targets=9, rng=rng_of())
        sizes = [len(batch) for batch in recorder.batches]
        assert len(sizes) == 1 + 9 * 6
        assert sizes == sorted(sizes, reverse=True)
        assert 0 < (trained(adversarial).argmax(-1) == labels).sum() <= sizes[-1] <= sizes[7] < sizes[1] < 100

    @pytest.mark.parametrize("num_targets", [0, 10])
    def test_as_many_targets_as_there_are_wrong_labels(self, num_targets):
        model, images, labels = random_problem(23)
        with pytest.raises(ValueError, match=f"from 1 to 9, the number of wrong labels, got {num_targets}"):
            apgd_targeted(model, images, labels, 0.1, steps=1, num_targets=num_targets, rng=rng_of())
