"""The model card of a bundle: what the classifier is, its numbers, what they mean, and how to load it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trainables.config import parse
from trainables.evaluation.metrics import accuracies
from tuner.statistics import interval

CARD = "model_card.md"

_WITH_OURS = """\
With this package, which needs neither Ray nor Optuna nor MLflow for it:

```python
import trainables

classifier = trainables.load("THIS FOLDER")  # images in [0, 1] to logits
```
"""
_WITH_TORCH = """
With torch alone:

```python
import torch

classifier = torch.export.load("THIS FOLDER/model.pt2").module()
logits = classifier(torch.zeros(5, {shape}))  # any number of images
```
"""

_BALLS = {
    "linf": "in every pixel (L-infinity; pixels lie in [0, 1])",
    "l2": "in length over all pixels (L2; pixels lie in [0, 1])",
}


def model_card(
    settings: dict[str, Any],
    metrics: Mapping[str, float],
    images: int,
    origin: Mapping[str, object],
    *,
    with_program: bool = True,
    without: str = "",
) -> str:
    """Return the model card of a bundle as Markdown.

    Args:
        settings: complete, of the run.
        metrics: of its last report.
        images: how many validation images they were measured on.
        origin: where it comes from, as ``provenance.json`` says it.
        with_program: whether the bundle has ``model.pt2``.
        without: why it has none, if it was to have one.
    """
    loading = _WITH_OURS
    if with_program:
        loading += _WITH_TORCH.format(shape=", ".join(map(str, parse(settings).dataset.task.image_shape)))
    elif without:
        loading += f"\nThere is no `model.pt2` for torch alone: {without}\n"
    return "\n".join(_lines(settings, metrics, images, origin, loading))


def _lines(
    settings: dict[str, Any],
    metrics: Mapping[str, float],
    images: int,
    origin: Mapping[str, object],
    loading: str,
) -> Iterator[str]:
    config, trainable = parse(settings), settings["trainable"]
    task, epsilon = config.dataset.task, config.evaluation.epsilon
    shape = " x ".join(map(str, task.image_shape))
    name = " ".join(str(origin[key]) for key in ("sweep", "run") if key in origin) or trainable
    yield f"# {name}\n"
    yield (
        f"The network `{config.classifier.architecture}`, trained by `{trainable}` to classify the images of "
        f"`{config.dataset.name}` ({shape}, {task.num_classes} classes) also under adversarial perturbations.\n"
    )
    yield "## Numbers\n"
    yield f"On {images:,} validation images, at the end of its training:\n"
    yield "| accuracy | % | 95 % interval |\n|---|---|---|"
    for metric in accuracies("all", metrics):
        if metric.name in metrics:
            low, high = interval(metrics[metric.name], images)
            yield f"| {metric.label} | {100 * metrics[metric.name]:.1f} | {100 * low:.1f} to {100 * high:.1f} |"
    yield from _confirmed(origin.get("confirmed"))
    yield "\n## Threat model\n"
    yield (
        f"Perturbations of at most {epsilon:g} {_BALLS[config.evaluation.norm]} by an attacker who "
        "knows the weights. The robust accuracy counts an image only if no attack of the tier `rank` changes its label."
    )
    yield "\n## Limits\n"
    yield "- Nothing is claimed for larger perturbations, for other norms, or for images of another kind."
    if "confirmed" not in origin:
        yield "- If it was chosen for these numbers, they flatter it: it was chosen and measured on the same images."
    yield "- Stronger attacks find more: `tuner evaluate THIS FOLDER --tier final` measures it under the strongest."
    yield "\n## Loading it\n"
    yield loading
    yield "## Where it comes from\n"
    yield "`configuration.json` holds all settings: `tuner train configuration.json --output FOLDER` trains it again."
    yield "`tuner verify THIS FOLDER` checks every file and measures the numbers again.\n"
    versions = origin.get("versions")
    known = {"commit": origin.get("git_commit"), "machine": origin.get("platform")}
    known |= dict(versions) if isinstance(versions, Mapping) else {}
    yield from (f"- {name}: {value}" for name, value in known.items() if value)
    yield ""


def _confirmed(found: object) -> Iterator[str]:
    if isinstance(found, Mapping):
        yield "\nOn test images, with fresh seeds (`tuner confirm`):\n"
        yield from (f"- {sentence}" for sentence in found["sentences"])
