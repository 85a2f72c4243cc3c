"""The search space of a bundle: that of its sweep, whose search begins with the configuration of the bundle."""

from __future__ import annotations

import json

from search_spaces.checks.assignments import assign
from search_spaces.configurations import parse_space
from tuner.errors import UserError
from tuner.sweep.runs import Record
from tuner.sweep.snapshot import Snapshot

SPACE = "space.yaml"


def space_from(snapshot: Snapshot, record: Record) -> str:
    """Return the text of a sweep's space with one run's configuration as the first that is tried.

    Args:
        snapshot: of the sweep.
        record: of a run of its trainable.

    Raises:
        UserError: the run is a baseline, or the space takes no first configuration.
    """
    key, sweep = record.run.key, snapshot.sweep
    if record.run.kind == "baseline":
        raise UserError(f"--as-space is for a run that was searched, and {key} is a baseline")
    if snapshot.space.search.sampler == "grid":
        raise UserError("--as-space is for a search that begins somewhere, and the grid sampler tries every point")
    source, text = str(sweep.folder / SPACE), sweep.launched_text
    name = f"{sweep.name}/{key}"
    bundles = {**snapshot.space.bundles, name: record.run.settings}
    text = assign(text, source, [f"first={json.dumps([{'bundle': name}])}", f"bundles={json.dumps(bundles)}"])
    parse_space(text, source)
    return f"{text.rstrip()}\n# first: {key} of the sweep {sweep.name}\n"
