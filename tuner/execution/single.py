"""One configuration trained right here, without Ray: the same loop as in a sweep, so a breakpoint works."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from pydantic import ValidationError

from search_spaces.checks.fields import settings_mistakes
from search_spaces.errors import Mistake, SpaceError, nearest, unknown
from search_spaces.parameters import with_changes
from trainables.attacks.radii import parse_json
from trainables.config import CONFIGURATIONS, parse
from trainables.config.plugins.packages import check_packages
from trainables.storage.atomic import reason_of, whole_folder
from trainables.storage.bounded import read_bounded
from trainables.training.published import PUBLISHED
from tuner.errors import UserError
from tuner.results.bundles.export import num_threads, write_account
from tuner.sweep.provenance import provenance

if TYPE_CHECKING:
    from trainables.networks.bundle import Weights

OnReport: TypeAlias = Callable[[dict[str, float]], None]
"""Is called with the metrics of every report."""
_MAX_BYTES = 1_000_000  # of a configuration


def read_configuration(source: str, assignments: list[str]) -> dict[str, Any]:
    """Return the complete settings of a name or a ``configuration.json``, with ``key=value`` put over them.

    Args:
        source: a trainable (its defaults), a published configuration, a JSON file, or a bundle's folder.
        assignments: like ``classifier.learning_rate=0.01``; values are JSON (fractions like 8/255 too) or text.

    Raises:
        UserError: the source is none of these, or needs a package that is not installed.
        SpaceError: settings are unknown or out of bounds; all of them at once.
    """
    settings: dict[str, Any]
    path = Path(source)
    if source in CONFIGURATIONS:
        settings = {"trainable": source}
    elif source in PUBLISHED:
        settings = with_changes(PUBLISHED[source].settings, {})
    elif path.exists():
        path = path / "configuration.json" if path.is_dir() else path
        try:
            settings = json.loads(read_bounded(path, _MAX_BYTES))
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"{path} is no configuration: {error}") from error
        if not isinstance(settings, dict):
            raise UserError(f"{path} is no configuration: it must be a mapping of settings")
    else:
        raise UserError(
            f"{source!r} is neither a file nor a trainable ({', '.join(CONFIGURATIONS)}) "
            f"nor a published configuration ({', '.join(PUBLISHED)}){nearest(source, [*CONFIGURATIONS, *PUBLISHED])}"
        )
    for assignment in assignments:
        _assign(settings, assignment)
    _check_packages(settings.get("code"))
    name = settings.get("trainable")
    if not isinstance(name, str) or name not in CONFIGURATIONS:
        raise SpaceError(source, [Mistake(None, ("trainable",), unknown("trainable", str(name), CONFIGURATIONS))])
    fields = {key: value for key, value in settings.items() if key != "code"}  # whose keys are names of files
    mistakes = settings_mistakes(CONFIGURATIONS[name], fields)
    if mistakes:
        raise SpaceError(source, mistakes)
    try:
        complete: dict[str, Any] = parse(settings).model_dump(mode="json")
    except ValidationError as error:
        raise UserError(f"{source} is no configuration: {error.errors()[0]['msg']} (code)") from error
    return complete


def _check_packages(code: object) -> None:
    if isinstance(code, dict):
        check_packages({str(key): str(digest) for key, digest in code.items()})


def folder_of(source: str) -> Path | None:
    """Return the folder that a configuration's code lies in: a bundle, or that of a JSON file; None for a name."""
    path = Path(source)
    if source in CONFIGURATIONS or source in PUBLISHED or not path.exists():
        return None
    return path.absolute() if path.is_dir() else path.absolute().parent


def _assign(settings: dict[str, Any], assignment: str) -> None:
    name, equals, text = assignment.partition("=")
    if not equals:
        raise UserError(f"--set takes key=value, like classifier.learning_rate=0.01, got {assignment!r}")
    *path, last = name.split(".")
    for key in path:
        settings = settings.setdefault(key, {})
        if not isinstance(settings, dict):
            raise UserError(f"--set {assignment}: {key!r} has no settings below it")
    try:
        settings[last] = parse_json(text)
    except ValueError:
        settings[last] = text


def train(
    settings: dict[str, Any],
    target: Path,
    data: Path | None,
    report: OnReport,
    device: str = "cpu",
    code: Mapping[str, bytes] | None = None,
) -> Path:
    """Train one configuration to its end and write its bundle; ``report`` is told the metrics of every step.

    Args:
        settings: the complete configuration.
        target: folder of the bundle.
        data: folder of the dataset's files; by default they are in the cache.
        report: is told the metrics.
        device: where it is trained, as torch names it.
        code: the files of code of a user's own, by their names, which the bundle keeps.

    Raises:
        PrecisionError: this machine lacks the precision.
        UserError: the bundle's folder is there already or cannot be made, or training diverged.
    """
    from trainables.networks.bundle import write_classifier, write_code

    target = target.absolute()
    if target.exists():
        raise UserError(f"{target} is there already: remove it or choose another --output")
    try:  # before the training, which is lost if it cannot be written
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        raise UserError(f"cannot write into {target.parent}: {reason_of(error)}; choose another --output") from error
    weights, metrics = train_to_end(settings, data, num_threads(1), report, device)
    with whole_folder(target) as folder:
        write_classifier(folder, settings, weights)
        write_code(folder, code or {})
        config = parse(settings)
        origin = provenance(source="tuner train", dataset=config.dataset, user_code=config.code)
        write_account(folder, settings, metrics, {**origin, "num_threads": num_threads(1)})
    return target


def train_to_end(
    settings: dict[str, Any], data: Path | None, threads: int, report: OnReport, device: str = "cpu"
) -> tuple[Weights, dict[str, float]]:
    """Train one configuration and return the classifier's weights and the metrics of its last report.

    Args:
        settings: complete.
        data: folder of the dataset's files; by default they are fetched.
        threads: of torch.
        report: is told the metrics of every step.
        device: where it is trained, as torch names it.

    Raises:
        PrecisionError: this machine lacks the precision.
        UserError: training diverged.
    """
    from trainables.data.tensors import load_dataset
    from trainables.training import registry
    from trainables.training.loop import DivergedError
    from trainables.training.machine.runtime import set_num_threads

    set_num_threads(threads)
    config = parse(settings)
    metrics: dict[str, float] = {}
    try:
        loop = registry.build(config, load_dataset(config.dataset, folder=data, device=device))
        while not loop.done:
            metrics = loop.step()
            report(metrics)
    except DivergedError as error:
        raise UserError(f"training diverged: {error}; try a lower learning rate") from error
    return {name: tensor.cpu() for name, tensor in loop.result.state_dict().items()}, metrics
