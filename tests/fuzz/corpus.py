"""What is damaged: two small sweeps that were really trained, confirmed and evaluated, a bundle, files of weights.

``python -m tests.fuzz.corpus FOLDER`` makes it, in a process of its own: those that are forked later must not inherit
torch's threads. A sweep that an earlier release wrote, without checksums, is there, too.
"""

from __future__ import annotations

import argparse
import shutil
import tarfile
from pathlib import Path

import torch
from safetensors.torch import load_file

from search_spaces.configurations import parse_space
from search_spaces.library import text_of
from tests.tuner.conftest import REAL, train_really
from tuner.execution.evaluation import complete_runs, evaluate_runs
from tuner.results.bundles.export import export_run
from tuner.results.confirmation import write_confirmation
from tuner.search.confirmation import make_plan
from tuner.search.confirmation_ledger import ConfirmLedger
from tuner.search.ledger import Ledger
from tuner.search.warm_start import collect_observations
from tuner.sweep.control import Control
from tuner.sweep.folder import SweepFolder
from tuner.sweep.reader import open_files
from tuner.sweep.snapshot import read_snapshot

SWEEP, OTHER = "real", "other"
HOME, OLDER, BUNDLE, STATE_DICT, SPACES = "home", "older", "bundle", "weights.pt", "spaces"
OTHER_BUNDLE = "other-bundle"
"""Of another run: its files are put in place of those of the first."""
SPACE = REAL.replace("random", "tpe").replace("epsilon: 0.2", "epsilon: 0.03")
"""It learns from earlier trials, and its runs are not all of one value: another best trial would be seen."""
SAVED, OF_EARLIER_RELEASE = "saved", Path(__file__).parents[1] / "fixtures" / "sweep-format-1.tar.xz"


def make(folder: Path) -> None:
    """Fill a folder; ``older`` holds the files of the sweep as they were before its last trial and stage."""
    home = folder / HOME
    other = SweepFolder.create(OTHER, SPACE.replace("seed: 3", "seed: 4"), "other.yaml", home=home, num_trials=1)
    with other.lock():
        train_really(Ledger(other))
    earlier, _ = collect_observations(parse_space(SPACE, "real.yaml"), [other])
    sweep = SweepFolder.create(SWEEP, SPACE, "real.yaml", home=home, num_trials=1, warm_start=earlier)
    with sweep.lock():
        train_really(Ledger(sweep))
        _evaluate(sweep, num_images=10)
    shutil.copytree(sweep.folder, folder / OLDER)
    sweep = sweep.extended(2)
    with sweep.lock():
        train_really(Ledger(sweep))
        _confirm(sweep)
        _evaluate(sweep, num_images=20)
        control = Control(sweep)
        control.phase = "stopping"
        control.end()
    bundle = export_run(read_snapshot(sweep), folder / BUNDLE, None)
    export_run(read_snapshot(sweep), folder / OTHER_BUNDLE, "standard")
    torch.save(load_file(bundle / "classifier.safetensors"), folder / STATE_DICT)
    with tarfile.open(OF_EARLIER_RELEASE) as archive:
        archive.extractall(home, filter="data")
    (folder / SPACES).mkdir()
    for name in ("quick", "defences", "digits"):
        (folder / SPACES / f"{name}.yaml").write_text(text_of(name)[0])


def _evaluate(sweep: SweepFolder, num_images: int) -> None:
    files, runs = open_files(sweep, None), complete_runs(read_snapshot(sweep, is_locked=True))
    evaluate_runs(sweep, runs, files, num_images=num_images, workers=1, tell=lambda text: None)


def _confirm(sweep: SweepFolder) -> None:
    plan = make_plan(sweep, 1, 2, ["standard"])
    ledger = ConfirmLedger(sweep, plan)
    train_really(ledger)
    records = list(ledger.records.values())
    evaluate_runs(sweep, records, ledger.files, tier="rank", num_images=20, workers=1, tell=lambda text: None)
    write_confirmation(sweep, plan, records, "rank", ledger.record_result)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.corpus", description=__doc__)
    parser.add_argument("folder", type=Path)
    make(parser.parse_args().folder)
