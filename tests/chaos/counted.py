"""The command line, but it notes what it is about to train, so that repeated work can be counted, and draws nothing.

On nodes that have the variable ``COUNTED_PAUSE_S``, each report takes so much longer without any computing.
"""

from __future__ import annotations

import functools
import os
import time

from tests.support.undrawn import draw_nothing
from trainables.training.loop import TrainingLoop
from trainables.worker.trainable import RunTrainable
from tuner.cli.app import main
from tuner.execution import driver


class Counted(RunTrainable):
    """Adds the number of each report to a file in the run's folder when the training for it begins."""

    def _train(self, loop: TrainingLoop) -> dict[str, float]:
        folder = self._folder
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "trained").open("a") as file:
            file.write(f"{loop.num_reports + 1}\n")
        time.sleep(float(os.environ.get("COUNTED_PAUSE_S", "0")))
        return super()._train(loop)


if __name__ == "__main__":
    # To pickle a class of this file, Ray looks through all modules; one that the mirror has half imported breaks then.
    import mlflow.tracking  # noqa: F401

    draw_nothing()
    driver.execute = functools.partial(driver.execute, trainable=Counted)
    main()
