"""The loop of generator and classifier."""

from dataclasses import replace

import pytest
import torch

from tests.support.loops import copy_of, finish, is_unchanged, tensors_of
from trainables.training import gan, recipes, registry
from trainables.training import generator as trained_generator


class TestGan:
    def test_the_turns_follow_pre_training(self, loop_of):
        loop = loop_of("gan", batch_size=64, pretrain=0.5, ratio={"generator_turns": 2}, compute=5.0)
        whose = ""
        for _ in range(9):
            classifier, generator = copy_of(loop.classifier), copy_of(loop.adversary.generator)
            loop.train_minibatch()
            learned = is_unchanged(loop.classifier, classifier), is_unchanged(loop.adversary.generator, generator)
            whose += {(False, True): "C", (True, False): "G"}[learned]
        # Half an epoch is three of the five minibatches.
        assert whose == "CCC" + "GGCGGC"

    @pytest.mark.parametrize("image_gradient", ["none", "sign", "normalized"])
    def test_the_generators_turn_leaves_the_classifier_frozen(self, loop_of, image_gradient):
        loop = loop_of("gan", pretrain=0.0, generator={"width": 4, "image_gradient": image_gradient})
        classifier, generator = copy_of(loop.classifier), copy_of(loop.adversary.generator)
        loop.train_minibatch()
        assert is_unchanged(loop.classifier, classifier)
        assert not is_unchanged(loop.adversary.generator, generator)
        assert all(parameter.grad is None and parameter.requires_grad for parameter in loop.classifier.parameters())

    @pytest.mark.parametrize("image_gradient", ["none", "sign", "normalized"])
    def test_the_classifiers_turn_leaves_the_generator_frozen(self, loop_of, image_gradient):
        loop = loop_of("gan", pretrain=0.0, generator={"width": 4, "image_gradient": image_gradient})
        loop.train_minibatch()
        classifier, generator = copy_of(loop.classifier), copy_of(loop.adversary.generator)
        moments = [tensor.clone() for tensor in tensors_of(loop.adversary.optimizer.state_dict())]
        loop.train_minibatch()
        assert not is_unchanged(loop.classifier, classifier)
        assert is_unchanged(loop.adversary.generator, generator)
        after = tensors_of(loop.adversary.optimizer.state_dict())
        assert all(torch.equal(one, other) for one, other in zip(after, moments, strict=True))

    @pytest.mark.parametrize("random_start", [False, True])
    @pytest.mark.parametrize("bound", [0.05, 0.5])
    def test_perturbed_images_stay_in_the_ball_and_the_box(self, loop_of, monkeypatch, random_start, bound):
        seen = []

        def recorded(logits_fn, images, perturbed, labels, clean_weight):
            seen.append((images, perturbed))
            return recipes.mixed_loss(logits_fn, images, perturbed, labels, clean_weight)

        monkeypatch.setattr(gan, "mixed_loss", recorded)
        generator = {"width": 4, "perturbation_bound": bound, "random_start": random_start}
        loop = loop_of("gan", pretrain=0.0, generator=generator, compute=2.0)
        for _ in range(6):
            loop.train_minibatch()
        assert len(seen) == 3
        for images, perturbed in seen:
            assert 0 <= perturbed.min() <= perturbed.max() <= 1
            assert 0.3 * bound < (perturbed - images).abs().max() <= bound + 1e-6
            assert not perturbed.requires_grad

    @pytest.mark.parametrize("loss", ["wrongness", "cross_entropy"])
    def test_a_generator_against_a_frozen_classifier_learns_to_fool_it(self, loop_of, loss):
        generator = {"width": 8, "perturbation_bound": 0.3, "learning_rate": 5e-3, "loss": loss}
        loop = loop_of("gan", pretrain=4.0, compute=99.0, generator=generator, ratio={"generator_turns": 1000})
        while loop.meter.compute < 4:
            loop.train_minibatch()
        losses = []
        for _ in range(40):
            loop.train_minibatch()
            losses.append(loop.generator_loss.take())
        assert sum(losses[-5:]) < sum(losses[:5])

    def test_the_bound_warms_up(self, loop_of):
        generator = {"width": 4, "warmup": 0.5, "perturbation_bound": 0.2}
        loop = loop_of("gan", pretrain=0.0, generator=generator, compute=3.0)
        bounds = {}
        while not loop.done:
            bounds[loop.progress] = loop.bound
            loop.train_minibatch()
        assert bounds.pop(0.0) == 0
        assert len(bounds) > 5
        for progress, bound in bounds.items():
            assert bound == pytest.approx(0.4 * progress if progress < 0.5 else 0.2)

    def test_without_warm_up_the_bound_is_there_at_once(self, loop_of):
        assert loop_of("gan", generator={"perturbation_bound": 0.2}).bound == 0.2

    def test_a_turn_is_one_epoch_when_asked(self, loop_of):
        loop = loop_of(
            "gan", batch_size=64, pretrain=0.0, compute=99.0, ratio={"turn_batches": None, "generator_turns": 2}
        )
        for _ in range(15):
            loop.train_minibatch()
        assert (loop.generator_minibatches.num_drawn, loop.minibatches.num_drawn) == (10, 5)
        assert (loop.turns.cycles, loop.turns.generator_turns) == (1, 2)

    @pytest.mark.parametrize("generator_turns", [1, 2, 4])
    def test_the_ratio_is_reported_when_a_cycle_ended(self, loop_of, generator_turns):
        loop = loop_of("gan", compute=12.0, report_every=6.0, ratio={"generator_turns": generator_turns})
        reports = finish(loop)
        assert [report["ratio"] for report in reports] == [pytest.approx(generator_turns, rel=0.3)] * 2
        assert loop.turns.generator_turns == pytest.approx(generator_turns * loop.turns.cycles, abs=generator_turns)

    def test_losses_of_turns_that_were_not_taken_are_not_reported(self, loop_of):
        pretraining, generating = finish(
            loop_of("gan", pretrain=0.5, compute=1.0, report_every=0.5, ratio={"generator_turns": 99})
        )
        assert ("classifier_loss" in pretraining, "generator_loss" in pretraining) == (True, False)
        assert ("classifier_loss" in generating, "generator_loss" in generating) == (False, True)
        assert 0 < generating["generator_loss"] < 1
        assert "ratio" not in {**pretraining, **generating}

    @pytest.mark.parametrize("generator_turns", [1, 3])
    def test_the_same_minibatches_are_those_of_the_generators_last_turn(self, loop_of, monkeypatch, generator_turns):
        ratio = {"turn_batches": 4, "generator_turns": generator_turns}
        generator = {"width": 4, "minibatch": "same"}
        loop = loop_of("gan", pretrain=0.0, compute=99.0, generator=generator, ratio=ratio)
        seen = {"generator": [], "classifier": []}
        for whose, name in (("generator", "_train_generator"), ("classifier", "_train_classifier")):
            train = getattr(loop, name)
            monkeypatch.setattr(
                loop, name, lambda *batch, train=train, whose=whose: seen[whose].append(batch[0]) or train(*batch)
            )
        for _ in range(2 * 4 * (generator_turns + 1)):  # past the end of an epoch of 19
            loop.train_minibatch()
        last_turns = [
            seen["generator"][4 * turn : 4 * turn + 4] for turn in (generator_turns - 1, -1 % (2 * generator_turns))
        ]
        expected = [images for turn in last_turns for images in turn]
        assert len(seen["classifier"]) == 8
        assert all(torch.equal(one, other) for one, other in zip(seen["classifier"], expected, strict=True))

    @pytest.mark.parametrize(
        ("generator", "ratio"),
        [
            ({}, {"turn_batches": 3, "generator_turns": 2}),
            ({"noise": 2, "diversity": 0.1}, {"turn_batches": 1}),
            ({"goal": "source_to_target", "source": 7, "target": 3}, {"turn_batches": 4}),
        ],
        ids=["turns of three", "two draws", "source to target"],
    )
    def test_reused_images_are_those_of_the_generators_last_turn(self, loop_of, monkeypatch, generator, ratio):
        loop = loop_of(
            "gan", pretrain=0.0, compute=99.0, generator={"width": 4, "minibatch": "reused", **generator}, ratio=ratio
        )
        made, seen = [], []
        perturb_images = trained_generator.perturb_images

        def making(*arguments):
            found = perturb_images(*arguments)
            made.append(found.images.detach().clone())
            return found

        def recorded(logits_fn, images, perturbed, labels, clean_weight):
            seen.append((images, perturbed, labels))
            return recipes.mixed_loss(logits_fn, images, perturbed, labels, clean_weight)

        monkeypatch.setattr(trained_generator, "perturb_images", making)
        monkeypatch.setattr(gan, "mixed_loss", recorded)
        length, turns = ratio["turn_batches"], ratio.get("generator_turns", 1)
        for _ in range(length * (turns + 1)):
            loop.train_minibatch()
        assert len(made) == length * turns  # nothing is perturbed again
        assert len(seen) == length
        for (images, perturbed, labels), last in zip(seen, made[-length:], strict=True):
            is_moved = labels == 7 if "source" in generator else torch.ones_like(labels, dtype=torch.bool)
            assert torch.equal(perturbed[is_moved], last[: int(is_moved.sum())])
            assert torch.equal(perturbed[~is_moved], images[~is_moved])
            assert 0 < (perturbed - images).abs().max() <= 0.3 + 1e-6

    def test_reused_images_cost_no_compute_to_make_again(self, loop_of):
        spent = {}
        for minibatch in ("same", "reused"):
            loop = loop_of("gan", pretrain=0.0, compute=99.0, generator={"width": 4, "minibatch": minibatch})
            for _ in range(4):
                loop.train_minibatch()
            spent[minibatch] = loop.meter.compute
        assert spent["reused"] < 0.9 * spent["same"]

    def test_several_draws_of_each_image_differ(self, loop_of, monkeypatch):
        seen = []

        def recorded(logits_fn, images, perturbed, labels, clean_weight):
            seen.append((images, perturbed))
            return recipes.mixed_loss(logits_fn, images, perturbed, labels, clean_weight)

        monkeypatch.setattr(gan, "mixed_loss", recorded)
        loop = loop_of("gan", pretrain=0.0, generator={"width": 4, "draws": 3, "random_start": True})
        loop.train_minibatch()
        loop.train_minibatch()
        ((images, perturbed),) = seen
        draws = perturbed.chunk(3)
        assert all((draw - images).abs().max() <= 0.3 + 1e-6 for draw in draws)
        assert not any(torch.equal(draws[0], draw) for draw in draws[1:])

    def test_source_to_target_counts_the_images_it_perturbs(self, loop_of):
        goal = {"width": 4, "goal": "source_to_target", "source": 7, "target": 3}
        loop = loop_of("gan", pretrain=0.0, compute=99.0, generator=goal)
        all_images = loop_of("gan", pretrain=0.0, compute=99.0, generator={"width": 4})
        while not {"generator", "perturb", "classifier"} <= set(loop.meter.state()["flops_per_image"]):
            loop.train_minibatch()
        for _ in range(2):
            all_images.train_minibatch()
        cost = loop.meter.state()["flops_per_image"]
        assert cost == all_images.meter.state()["flops_per_image"]
        for _ in range(6):
            before = loop.meter.state()["flops"]
            drawn = loop.generator_minibatches.num_drawn, loop.minibatches.num_drawn
            loop.train_minibatch()
            is_generators = loop.generator_minibatches.num_drawn > drawn[0]
            minibatches = loop.generator_minibatches if is_generators else loop.minibatches
            _, labels = minibatches.at(minibatches.num_drawn - 1)
            num_sources = int((labels == 7).sum())
            kinds = {"generator": num_sources} if is_generators else {"perturb": num_sources, "classifier": len(labels)}
            assert loop.meter.state()["flops"] - before == sum(cost[kind] * count for kind, count in kinds.items())

    def test_a_data_set_without_the_source_ends_too(self, config_of, few_digits):
        def without(split):
            keep = split.labels != 7
            return replace(split, images=split.images[keep], labels=split.labels[keep])

        dataset = replace(few_digits, train=without(few_digits.train), validation=without(few_digits.validation))
        goal = {"width": 4, "goal": "source_to_target", "source": 7, "target": 3}
        ratio = {"kind": "adaptive", "max_generator_turns": 3}
        reports = finish(registry.build(config_of("gan", generator=goal, ratio=ratio), dataset))
        assert reports[-1]["compute"] >= 2
        assert all("generator_loss" not in report and "watch/generator_success" not in report for report in reports)

    def test_the_pool_and_new_beginnings_follow_the_cycles(self, loop_of):
        generator = {"width": 4, "pool": 3, "pool_every": 2, "reinitialise_every": 3}
        loop = loop_of("gan", pretrain=0.0, compute=99.0, generator=generator, ratio={"turn_batches": 2})
        beginnings, sizes, last = 0, [], loop.adversary.generator
        while loop.turns.cycles < 7:
            loop.train_minibatch()
            beginnings += loop.adversary.generator is not last
            last = loop.adversary.generator
            sizes.append(len(loop.adversary.pool))
        assert beginnings == 2
        assert sizes == sorted(sizes)
        assert sizes[-1] == 3
