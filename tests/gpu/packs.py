"""Packs: updates of many runs at once by stacked weights, and of many single runs on streams beside each other."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from tests.gpu.measuring import Rows, host_ms, numbers, time_ms
from tests.gpu.recipes import BATCH_SIZE, GENERATOR, build, load_images, on
from tests.gpu.solo import replays
from tests.gpu.stacked import WAYS, Stack, StackedAdam
from trainables.attacks import gradient as attacks
from trainables.attacks.losses import cross_entropy
from trainables.common.tasks import MNIST
from trainables.config import parse
from trainables.data.tensors import Dataset
from trainables.networks.classifiers import build_classifier
from trainables.networks.generator_losses import GENERATOR_LOSSES
from trainables.networks.generators import build_generator
from trainables.networks.perturbation import GeneratorInputs, perturb_images
from trainables.training.optimizers import descend
from trainables.training.recipes import mixed_loss

CYCLES, CLEAN_UPDATES, WATCH_REPORTS = 933, 215, 15
"""Of a run of `gan`'s first configuration: counted in one of them."""


class Pack:
    """The slots of a pack with what its updates need; every hyperparameter is a tensor ``(slots, 1, ...)``."""

    def __init__(self, num_slots: int, way: str, device: str, seeds: list[int] | None = None) -> None:
        config = parse(GENERATOR)
        seeds = list(range(num_slots)) if seeds is None else seeds
        self.settings = config.generator
        self.classifier = Stack([build_classifier(config.classifier, MNIST, seed).to(device) for seed in seeds], way)
        self.generator = Stack([build_generator(config.generator, MNIST, seed).to(device) for seed in seeds], way)
        self.generator.num_classes = MNIST.num_classes
        self.adams = [StackedAdam(net, [1e-3] * num_slots) for net in (self.classifier, self.generator)]
        self.rng = torch.Generator(device=device).manual_seed(0)
        self.bound = torch.full((num_slots, 1, 1, 1, 1), 0.35, device=device)
        self.clean_weight = torch.full((num_slots,), 0.1, device=device)

    def inputs(self, images: torch.Tensor, labels: torch.Tensor) -> GeneratorInputs:
        start = attacks.uniform_start(images, self.bound, self.rng)
        return GeneratorInputs(images, labels, start, start)

    def train_generator(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        self.classifier.freeze(True)
        adversarial = self.perturb(images, labels)
        losses = GENERATOR_LOSSES[self.settings.loss](self.classifier(adversarial), labels).mean(-1)
        self.classifier.freeze(False)
        self.adams[1].step(self.generator.gradient(losses.sum()))
        return losses.detach()

    def perturb(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        inputs = self.inputs(images, labels)
        return perturb_images(self.settings, self.generator, self.classifier, inputs, self.bound)  # type: ignore[arg-type]

    def train_classifier(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            adversarial = self.perturb(images, labels)
        both = cross_entropy(
            self.classifier(torch.cat([images, adversarial], dim=1)), torch.cat([labels, labels], dim=1)
        )
        clean, attacked = both.chunk(2, dim=1)
        losses = self.clean_weight * clean.mean(-1) + (1 - self.clean_weight) * attacked.mean(-1)
        self.adams[0].step(self.classifier.gradient(losses.sum()))
        return losses.detach()

    def train_on(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        losses = cross_entropy(self.classifier(images), labels).mean(-1)
        self.adams[0].step(self.classifier.gradient(losses.sum()))
        return losses.detach()

    def train_pgd(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return self.train_on(self.pgd(images, labels, steps=7), labels)

    def train_fgsm(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return self.train_on(attacks.fgsm(self.classifier, images, labels, self.bound), labels)

    def pgd(self, images: torch.Tensor, labels: torch.Tensor, steps: int) -> torch.Tensor:
        size = 2.5 * self.bound / steps
        return attacks.pgd(self.classifier, images, labels, self.bound, steps=steps, step_size=size, rng=self.rng)

    def watch(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Run the attacks of the tier `watch` on all images."""
        with torch.no_grad():
            clean = self.classifier(images).argmax(-1) == labels
        robust = clean
        for adversarial in (
            attacks.fgsm(self.classifier, images, labels, self.bound),
            attacks.r_fgsm(self.classifier, images, labels, self.bound, rng=self.rng),
            self.pgd(images, labels, steps=10),
        ):
            with torch.no_grad():
                robust = robust & (self.classifier(adversarial).argmax(-1) == labels)
        return robust.float().mean(-1)


def minibatch(dataset: Dataset, num_slots: int, num_images: int = BATCH_SIZE) -> tuple[torch.Tensor, torch.Tensor]:
    device = dataset.train.images.device
    index = torch.randint(len(dataset.train), (num_slots * num_images,), generator=torch.Generator().manual_seed(1))
    images, labels = dataset.train.batch(index.to(device))
    return images.unflatten(0, (num_slots, -1)), labels.unflatten(0, (num_slots, -1))


def captured(function: Callable[[], object], rng: torch.Generator) -> torch.cuda.CUDAGraph:
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            function()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    graph.register_generator_state(rng)
    with torch.cuda.graph(graph, stream=stream):
        function()
    return graph


def updates_of(pack: Pack, images: torch.Tensor, labels: torch.Tensor) -> dict[str, Callable[[], object]]:
    return {
        "generator": lambda: pack.train_generator(images, labels),
        "classifier": lambda: pack.train_classifier(images, labels),
        "fgsm": lambda: pack.train_fgsm(images, labels),
        "pgd-7": lambda: pack.train_pgd(images, labels),
    }


def measure_equality(rows: Rows, _dataset: Dataset) -> None:
    """Compare packs with solo runs, and a slot beside other neighbours; this needs no GPU."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    # Real images have many pixels whose gradient is rounding alone, and a sign of it changes with the order of sums.
    there = on(load_images(None), device)
    for way in WAYS if device == "cuda" else WAYS[:2]:
        rows.attempt(f"a slot beside other neighbours, {way}, {device}", lambda way=way: _neighbours(way, there))
        rows.attempt(f"three slots and three solo runs, {way}, {device}", lambda way=way: _against_solo(way, there))


def _num_images(dataset: Dataset) -> int:
    return BATCH_SIZE if dataset.train.images.is_cuda else 16


def _run(pack: Pack, dataset: Dataset, num_updates: int) -> list[torch.Tensor]:
    images, labels = minibatch(dataset, len(pack.clean_weight), _num_images(dataset))
    for _ in range(num_updates):
        for update in updates_of(pack, images, labels).values():
            update()
    return [*pack.classifier.network(0).values(), *pack.generator.network(0).values()]


def _neighbours(way: str, dataset: Dataset) -> dict[str, Any]:
    device = str(dataset.train.images.device)
    with numbers("fp32"):
        first = _run(Pack(4, way, device, [0, 1, 2, 3]), dataset, 3)
        again = _run(Pack(4, way, device, [0, 1, 2, 3]), dataset, 3)
        other = _run(Pack(4, way, device, [0, 7, 8, 9]), dataset, 3)
        broken = Pack(4, way, device, [0, 1, 2, 3])
        broken.classifier.matrix[1:] = float("nan")
        beside_nan = _run(broken, dataset, 3)
    return {
        name: all(torch.equal(ours, theirs) for ours, theirs in zip(first, some, strict=True))
        for name, some in (("same_again", again), ("same_bits", other), ("same_bits_beside_nan", beside_nan))
    }


def _against_solo(way: str, dataset: Dataset) -> dict[str, Any]:
    """Train on the same minibatches with the product's own networks and optimiser; generators start at the images."""
    device, num_slots, config = str(dataset.train.images.device), 3, parse(GENERATOR)
    settings = config.generator.model_copy(update={"random_start": False})
    with numbers("fp32"):
        pack = Pack(num_slots, way, device)
        pack.inputs = lambda images, labels: GeneratorInputs(images, labels, images, images)  # type: ignore[method-assign]
        images, labels = minibatch(dataset, num_slots, _num_images(dataset))
        for _ in range(5):
            pack.train_generator(images, labels)
            pack.train_classifier(images, labels)
        largest = relative = 0.0
        for slot in range(num_slots):
            classifier, generator = (
                build(part, slot).to(device)
                for build, part in ((build_classifier, config.classifier), (build_generator, config.generator))
            )
            adams = [torch.optim.Adam(net.parameters(), lr=1e-3) for net in (classifier, generator)]
            some, of_some = images[slot], labels[slot]
            inputs = GeneratorInputs(some, of_some, some, some)
            for _ in range(5):
                adversarial = perturb_images(settings, generator, classifier, inputs, 0.35)
                loss = GENERATOR_LOSSES[settings.loss](classifier(adversarial), of_some).mean()
                descend(adams[1], loss)
                with torch.no_grad():
                    adversarial = perturb_images(settings, generator, classifier, inputs, 0.35)
                descend(adams[0], mixed_loss(classifier, some, adversarial, of_some, 0.1))
            alone = Stack([classifier], way), Stack([generator], way)
            for ours, theirs in zip((pack.classifier, pack.generator), alone, strict=True):
                off = ours.matrix[slot] - theirs.matrix[0]
                largest = max(largest, float(off.abs().max()))
                relative = max(relative, float(off.norm() / theirs.matrix[0].norm()))
    # Adam turns a gradient near zero, whose rounding differs, into a whole step: the largest difference is of those.
    return {"largest_difference_of_weights": largest, "relative_difference": relative}


def measure_stacked(rows: Rows, dataset: Dataset) -> None:
    """Time updates of packs by width, way and number format; the widths that matter most come first."""
    there = on(dataset, "cuda")
    combinations = [
        *((32, way, fmt) for way in WAYS for fmt in ("tf32", "fp32", "bf16")),
        *((width, way, "tf32") for width in (64, 8, 128, 1, 16) for way in ("bmm", "grouped")),
        *((width, "bmm", fmt) for width in (64, 128) for fmt in ("bf16", "fp32")),
    ]
    for width, way, fmt in combinations:
        what = f"{width} slots, {way}, {fmt}"
        rows.attempt(what, lambda width=width, way=way, fmt=fmt: _stacked(width, way, fmt, there), needs_s=4)


def _stacked(width: int, way: str, fmt: str, dataset: Dataset) -> dict[str, Any]:
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    with numbers(fmt):
        pack = Pack(width, way, "cuda")
        images, labels = minibatch(dataset, width)
        updates = updates_of(pack, images, labels)
        values: dict[str, Any] = {}
        for name, update in updates.items():
            values[f"{name}_ms"] = time_ms(captured(update, pack.rng).replay, seconds=0.15, warm_up=1)
        memory = (torch.cuda.max_memory_allocated() - before) / width / 1e6
        pair = updates["generator"], updates["classifier"]
        values["eager_pair_ms"] = time_ms(lambda: [update() for update in pair], seconds=0.1, warm_up=1)
        some, of_some = minibatch(dataset, width, 500)
        watch_graph = captured(lambda: pack.watch(some, of_some), pack.rng)
        values["watch_ms"] = time_ms(watch_graph.replay, seconds=0.1, warm_up=1)
    ticks = CYCLES * (values["generator_ms"] + values["classifier_ms"]) + CLEAN_UPDATES * values["fgsm_ms"] / 2
    # The last report attacks 1,000 images by 40 steps of PGD and of APGD: about twelve times the work of the watch.
    reports = values["watch_ms"] * (WATCH_REPORTS + 12)
    return {
        **values,
        "ms_per_trial_update": (values["generator_ms"] + values["classifier_ms"]) / 2 / width,
        "mb_per_slot": memory,
        "estimated_trial_s": (ticks + reports) / width / 1e3,
        "estimated_trials_per_hour": 3.6e6 * width / (ticks + reports),
    }


def measure_streams(rows: Rows, dataset: Dataset) -> None:
    """Time single runs in graphs, each on a stream of its own, in one process."""
    there = on(dataset, "cuda")
    settings = {**GENERATOR, "compute": 1e6, "report_every": 1e6, "pretrain": 0.0}
    settings["generator"] = {**settings["generator"], "warmup": 0.0}
    loops: list[Any] = []
    for count in (1, 4, 16, 32):
        rows.attempt(f"{count} streams", lambda count=count: _streams(count, settings, there, loops), needs_s=6)


def _streams(count: int, settings: dict[str, Any], dataset: Dataset, loops: list[Any]) -> dict[str, Any]:
    started = time.monotonic()
    while len(loops) < count:
        loop = build({**settings, "seed": len(loops)}, dataset)
        with loop.updates.active():
            for _ in range(10):
                loop.train_minibatch()
        loops.append(loop)
    torch.cuda.synchronize()
    built = time.monotonic() - started
    graphs = [replays(loop) for loop in loops]

    def replay() -> None:
        for number in range(len(graphs[0])):
            for loop, own in zip(loops, graphs, strict=True):
                with loop.updates.active():
                    own[number]()

    def train() -> None:
        for _ in range(2):
            for loop in loops:
                with loop.updates.active():
                    loop.set_learning_rate()
                    loop.train_minibatch()

    pair = time_ms(replay, seconds=0.5)
    host = host_ms(replay, count=10)
    whole = time_ms(train, seconds=0.5)
    return {
        "ms_per_trial_update": pair / 2 / count,
        "submit_ms_per_trial_update": host / 2 / count,
        "whole_loop_ms_per_trial_update": whole / 2 / count,
        "build_s": built,
        "mb_per_run": torch.cuda.memory_reserved() / count / 1e6,
    }
