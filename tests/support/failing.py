"""The command line, but every run raises in its first report, and nothing is drawn."""

from __future__ import annotations

import functools

from tests.support.undrawn import draw_nothing
from trainables.training.loop import TrainingLoop
from trainables.worker.trainable import RunTrainable
from tuner.cli.app import main
from tuner.execution import driver


class Failing(RunTrainable):
    """Raises instead of training."""

    def _train(self, loop: TrainingLoop) -> dict[str, float]:
        raise RuntimeError("this run cannot be trained")


if __name__ == "__main__":
    # To pickle a class of this file, Ray looks through all modules; one that the mirror has half imported breaks then.
    import mlflow.tracking  # noqa: F401

    draw_nothing()
    driver.execute = functools.partial(driver.execute, trainable=Failing)
    main()
