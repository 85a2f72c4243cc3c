"""Configurations: the complete, validated settings of one training run, as pydantic models. No torch here.

There is a model for each recipe, with the same sections in all of them: dataset, evaluation, classifier and, where the
recipe has them, attack, generator and ratio. Every model is frozen and strict: an unknown key or a value out of bounds
is an error. Every number and every list has bounds, which are declared with its field, and every model names the fields
that have to fit together (`related`), so a search space is checked against the same lines that a run is built from.
"""

from trainables.config.attacks import AttackConfig, EvaluationConfig, metric_of_attack, without_usual_values
from trainables.config.fields import AS_TUPLE, MAX_FILES, MAX_NUMBER, CodeName, Compute, Settings, Sha256
from trainables.config.generator import GeneratorConfig, RatioConfig
from trainables.config.plugins.registries import Configured, Recipe
from trainables.config.recipes import (
    CONFIGURATIONS,
    AttackTrainingConfig,
    FgsmRandomStartConfig,
    FgsmRetrainingConfig,
    GanConfig,
    PgdConfig,
    StandardConfig,
    TradesConfig,
    TrainingConfig,
    parse,
)
from trainables.config.sections import (
    NUM_TRAINING_IMAGES,
    AugmentationConfig,
    ClassifierConfig,
    DataContent,
    DatasetConfig,
    with_default_validation,
    without_what_is_not_set,
)

__all__ = [
    "AS_TUPLE",
    "CONFIGURATIONS",
    "MAX_FILES",
    "MAX_NUMBER",
    "NUM_TRAINING_IMAGES",
    "AttackConfig",
    "AttackTrainingConfig",
    "AugmentationConfig",
    "ClassifierConfig",
    "CodeName",
    "Compute",
    "Configured",
    "DataContent",
    "DatasetConfig",
    "EvaluationConfig",
    "FgsmRandomStartConfig",
    "FgsmRetrainingConfig",
    "GanConfig",
    "GeneratorConfig",
    "PgdConfig",
    "RatioConfig",
    "Recipe",
    "Settings",
    "Sha256",
    "StandardConfig",
    "TradesConfig",
    "TrainingConfig",
    "metric_of_attack",
    "parse",
    "with_default_validation",
    "without_usual_values",
    "without_what_is_not_set",
]
