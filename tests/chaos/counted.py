"""The command line, but it notes what it is about to train, so that repeated work can be counted, and draws nothing."""

from __future__ import annotations

import functools

import tuner.driver
from trainables.loop import TrainingLoop
from trainables.ray_trainable import RunTrainable
from tuner.cli import main


class Counted(RunTrainable):
    """Adds the number of each report to a file in the run's folder when the training for it begins."""

    def _train(self, loop: TrainingLoop) -> dict[str, float]:
        folder = self._folder
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "trained").open("a") as file:
            file.write(f"{loop.num_reports + 1}\n")
        return super()._train(loop)


if __name__ == "__main__":
    # To pickle a class of this file, Ray looks through all modules; one that the mirror has half imported breaks then.
    import mlflow.tracking  # noqa: F401

    tuner.driver._pictures = lambda *_, **__: {}
    tuner.driver.execute = functools.partial(tuner.driver.execute, trainable=Counted)
    main()
