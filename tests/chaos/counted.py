"""The command line, but it notes what it is about to train, so that repeated work can be counted, and draws nothing.

On nodes that have the variable ``COUNTED_PAUSE_S``, each report takes so much longer without any computing.
"""

from __future__ import annotations

import os
import time
from typing import Any

from tests.support.undrawn import draw_nothing
from trainables.training.loop import TrainingLoop
from trainables.worker.pack_server import PackedRun
from trainables.worker.trainable import RunTrainable
from trainables.worker.work import RunWork
from tuner.cli.app import main
from tuner.execution import driver


class Counted(RunTrainable):
    """Notes each report when the training for it begins."""

    def _train(self, loop: TrainingLoop) -> dict[str, float]:
        note(self, loop)
        return super()._train(loop)


class CountedInPack(PackedRun):
    """Likewise, in a pack."""

    def next_report(self) -> TrainingLoop:
        loop = super().next_report()
        note(self, loop)
        return loop


def note(work: RunWork, loop: TrainingLoop) -> None:
    """Add the number of a run's next report to a file in its folder."""
    folder = work._folder
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "trained").open("a") as file:
        file.write(f"{loop.num_reports + 1}\n")
    time.sleep(float(os.environ.get("COUNTED_PAUSE_S", "0")))


if __name__ == "__main__":
    # To pickle a class of this file, Ray looks through all modules; one that the mirror has half imported breaks then.
    import mlflow.tracking  # noqa: F401

    draw_nothing()
    execute = driver.execute

    def counted(queue: Any, resources: Any, *arguments: Any, **options: Any) -> None:
        execute(queue, resources, *arguments, trainable=CountedInPack if resources.pack > 1 else Counted, **options)

    driver.execute = counted
    main()
