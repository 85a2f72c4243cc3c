"""The sections of settings that the GAN loop alone has: the generator, and the ratio of turns."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from trainables.config.fields import (
    MAX_NUMBER,
    Count,
    Fraction,
    GradientNorm,
    Label,
    LearningRate,
    NumTurns,
    Settings,
    TrainingEpsilon,
    Weight,
)
from trainables.config.plugins.references import MAX_NAME
from trainables.config.plugins.registries import GENERATORS, objection
from trainables.config.schedules import MAX_VALUES, Schedulable, Schedule


class GeneratorConfig(Settings):
    """The network that perturbs images in the GAN loop, its perturbations, its goal and its training.

    Attributes:
        body: a row of `trainables.config.plugins.registries.GENERATORS`.
        width: channels of its widest layers.
        output_scale: initial value of the learned factor before the output's tanh.
        image_gradient: the classifier's input gradient as an input channel: ``none``, as it is (``raw``), its ``sign``,
            or ``normalized`` to a root mean square of 1 per image.
        see_label: whether the true label is an input.
        see_perturbation: whether the perturbation so far, as a share of the bound, is an input channel.
        noise: how many normal random numbers are an input.
        perturbation_bound: bound of the perturbation in the norm of the evaluation, in pixels of [0, 1], or a
            `Schedule`.
        perturbation_sign: whether a recursion may brighten and darken pixels (``both``), or only brighten
            (``positive``) or darken (``negative``) them.
        random_start: whether a perturbation starts at a random point within the bound instead of at the image.
        recursions: how many times the network is applied; the result is projected into the bound each time.
        recursion_step: length of each recursion as a share of the bound; a single recursion goes the whole bound.
        warmup: share of the run's compute over which the bound grows linearly from zero; without it small networks may
            come to predict one class for all images.
        goal: ``untargeted``, any wrong label; ``targeted``, the label `target`; ``source_to_target``, the label
            `target` for images of the label `source`, while other images are not perturbed.
        target: see `goal`.
        source: see `goal`.
        loss: one of `trainables.networks.generator_losses.GENERATOR_LOSSES`.
        diversity: weight of how far two draws of noise move an image apart, which the generator maximises.
        saturation_penalty: weight of how far outputs before the tanh are in its flat parts, which the generator
            minimises. Without it a generator that is trained for long within a small bound may learn no more.
        optimizer: ``adam``, or ``sgd`` with a momentum of 0.9.
        learning_rate: a number or a `Schedule`.
        gradient_clip: a longer gradient (L2 norm over all weights) is shortened to this.
        reinitialise_every: after every so many cycles the generator starts again with fresh weights.
        pool: how many earlier copies of the generator are kept; the classifier is trained on perturbations by a random
            one of them and the present generator.
        pool_every: a copy is kept every so many cycles.
        draws: on how many perturbations of each image the classifier is trained.
        minibatch: whether the classifier's turn has ``fresh`` minibatches, the ``same`` as the generator's last turn,
            or these as they were perturbed there (``reused``), which saves the work of perturbing them again. `pool`
            and `draws` make images anew, so they do not go with ``reused``.
    """

    related = (("goal", "source", "target"), ("diversity", "noise"), ("minibatch", "pool", "draws"))

    body: Annotated[str, Field(max_length=MAX_NAME)] = "space_to_depth"
    width: Annotated[int, Field(ge=1, le=512)] = 32
    output_scale: Annotated[float, Field(gt=0, le=MAX_NUMBER)] = 5.0
    image_gradient: Literal["none", "raw", "sign", "normalized"] = "normalized"
    see_label: bool = False
    see_perturbation: bool = False
    noise: Annotated[int, Field(ge=0, le=10_000)] = 0
    perturbation_bound: TrainingEpsilon = 0.3
    perturbation_sign: Literal["both", "positive", "negative"] = "both"
    random_start: bool = False
    recursions: Annotated[int, Field(ge=1, le=1000)] = 1
    recursion_step: Annotated[float, Field(gt=0, le=1)] = 0.5
    warmup: Fraction = 0.0
    goal: Literal["untargeted", "targeted", "source_to_target"] = "untargeted"
    target: Label | None = None
    source: Label | None = None
    loss: Literal["wrongness", "cross_entropy", "log_wrongness", "margin"] = "wrongness"
    diversity: Weight = 0.0
    saturation_penalty: Weight = 0.0
    optimizer: Literal["adam", "sgd"] = "adam"
    learning_rate: LearningRate = 1e-3
    gradient_clip: GradientNorm | None = None
    reinitialise_every: Count | None = None
    pool: Annotated[int, Field(ge=0, le=1000)] = 0
    pool_every: Count = 100
    draws: Annotated[int, Field(ge=1, le=1000)] = 1
    minibatch: Literal["fresh", "same", "reused"] = "fresh"

    @field_validator("body")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in GENERATORS:
            raise ValueError(objection(name, GENERATORS.names(), "that of a plug-in"))
        return name

    @model_validator(mode="after")
    def _fits_together(self) -> GeneratorConfig:
        needed = {"untargeted": (), "targeted": ("target",), "source_to_target": ("source", "target")}[self.goal]
        for name in ("source", "target"):
            label = getattr(self, name)
            if label is None and name in needed:
                raise ValueError(f"{name} is missing: goal {self.goal} needs one, a label from 0 on")
            if label is not None and name not in needed:
                raise ValueError(f"{name} ({label}) must be left out: goal {self.goal} has none")
        if self.goal == "source_to_target" and self.source == self.target:
            raise ValueError(f"source and target must be different labels, both are {self.target}")
        if self.diversity and not self.noise:
            raise ValueError(f"diversity ({self.diversity:g}) needs noise above 0: it compares two draws of it")
        if self.minibatch == "reused" and (self.pool or self.draws > 1):
            name, value = ("pool", self.pool) if self.pool else ("draws", self.draws)
            raise ValueError(
                f"{name} ({value}) does not go with minibatch reused: it perturbs images anew for the classifier's turn"
            )
        return self


class RatioConfig(Settings):
    """How many turns the generator takes per turn of the classifier, and how long a turn is.

    Attributes:
        kind: ``constant`` takes `generator_turns`; ``stepped`` divides the run's compute evenly among `steps`;
            ``adaptive`` lets the generator go on until its failure probability is below `target_generator_loss`.
        generator_turns: for ``constant``, a number or a `Schedule`, of which the nearest whole number counts.
        steps: for ``stepped``, the numbers of turns.
        target_generator_loss: for ``adaptive``, the target: the mean of p(correct) in the generator's last turn or, for
            a goal with a target, of 1 - p(target).
        max_generator_turns: for ``adaptive``, the most turns of the generator in a cycle.
        turn_batches: minibatches in a turn; None for one epoch, the paper's turn.
    """

    kind: Literal["constant", "stepped", "adaptive"] = "constant"
    generator_turns: Annotated[NumTurns | Schedule[NumTurns], Schedulable()] = 1
    steps: Annotated[tuple[NumTurns, ...], Field(min_length=1, max_length=MAX_VALUES)] = (6, 8, 12)
    target_generator_loss: Annotated[float, Field(gt=0, le=MAX_NUMBER)] = 0.6
    max_generator_turns: NumTurns = 700
    turn_batches: Count | None = 1
