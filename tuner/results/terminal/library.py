"""Tables of what can be launched and learnt from: packaged spaces, published configurations, datasets."""

from __future__ import annotations

from pathlib import Path

from search_spaces import library
from search_spaces.configurations import load_space
from trainables.config import CONFIGURATIONS
from trainables.config.plugins.registries import ALL, Entry
from trainables.data import files as data_files
from trainables.errors import UserError
from trainables.training.published import PUBLISHED
from tuner.results.terminal.columns import Column, Row, Table


def spaces_table() -> Table:
    """Return a row for each packaged search space."""
    columns = (
        Column("name", "space", "name"),
        Column("trials", "trials"),
        Column("compute", "compute", text=lambda values: f"{values['compute']:g}"),
        Column("dataset", "dataset", "name", rank=2),
        Column("description", "what it searches", "words", rank=1),
    )
    rows = []
    for name in library.names():
        try:
            space = load_space(name)
        except UserError:
            continue  # of an installed package; `plugin_lines` says why
        values: dict[str, object] = {"name": name, "trials": space.num_trials, "compute": space.budget.compute}
        values |= {"trainable": space.trainable, "dataset": space.dataset.name, "description": space.description}
        rows.append(Row(values))
    return Table("Packaged search spaces: trials, and the compute of each in epochs", columns, tuple(rows))


def published_table() -> Table:
    """Return a row for each published configuration."""
    columns = (
        Column("name", "configuration", "name"),
        Column("trainable", "trainable", "name", rank=1),
        Column("description", "source", "words", rank=2),
    )
    rows = tuple(
        Row({"name": name, "trainable": published.settings["trainable"], "description": published.source})
        for name, published in PUBLISHED.items()
    )
    return Table("Published configurations, for `baselines`, `first` and `tuner train`", columns, rows)


def plugin_lines() -> list[str]:
    """Return a line for each name that an installed package adds, or why it cannot be used."""
    lines = []
    for registry in (*ALL, library.TABLE):
        for entry in registry.plugins():
            try:
                _use(registry.kind, entry)
                lines.append(f"{registry.kind}: {entry.name}, of {entry.package}")
            except UserError as error:
                lines.append(f"{registry.kind}: {str(error).splitlines()[0]}")
    return lines


def _use(kind: str, entry: Entry) -> None:
    """Use a row of an installed package as a space or a run does.

    Raises:
        UserError: it cannot be used.
    """
    entry.load()
    if kind == "attacks":
        from trainables.evaluation.attack_table import ATTACKS

        _ = entry.config, ATTACKS[entry.name]
    elif kind == "classifiers":
        _ = entry.config, entry.function()
    elif kind == "recipes":
        from trainables.training.registry import LOOPS

        _ = CONFIGURATIONS[entry.name], LOOPS[entry.name]
    elif kind == "spaces":
        load_space(entry.name)


def datasets_table(folder: Path | None = None) -> Table:
    """Return a row for each dataset, and whether its files are here and whole.

    Args:
        folder: where its files were put by hand; by default they are in the cache.
    """
    columns = (
        Column("dataset", "dataset", "name"),
        Column("images", "images", text=lambda values: f"{values['images']:,}"),
        Column("verified", "verified", "words"),
        Column("where", "where", "words", rank=2),
        Column("sha256", "sha256", text=lambda values: str(values["sha256"])[:12], rank=3),
    )
    rows = []
    for name in data_files.names():
        state = data_files.status(name, folder)
        verified = "yes" if state.present else state.problem
        values: dict[str, object] = {"dataset": name, "images": state.num_images, "verified": verified}
        rows.append(Row({**values, "where": str(state.path), "sha256": state.digest}))
    return Table("Datasets", columns, tuple(rows))
