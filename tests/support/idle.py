"""The command line, but its runs compute nothing: they report four times a second, and the driver draws nothing.

So many of them fit one machine at once, and tests can see where and when they run.
"""

from __future__ import annotations

import functools
import time
from pathlib import Path
from typing import Any

from ray import tune

from trainables.storage.atomic import write_whole

ACCURACIES = ("clean", "fgsm", "pgd", "robust")


class Idle(tune.Trainable):
    """As many reports as the compute has epochs; the last one is kept in the run's folder, as a checkpoint would."""

    def setup(self, config: dict[str, Any]) -> None:
        self._run = config
        self._has_begun = False

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        folder = Path(self._run["folder"])
        folder.mkdir(parents=True, exist_ok=True)
        last = folder / "last_report"
        step = int(last.read_text()) if last.exists() else 0
        if not self._has_begun:
            with (folder / "attempts").open("a") as file:
                file.write("x")
        if self._has_begun or step == 0:
            time.sleep(0.25)
            step += 1
            write_whole(last, str(step).encode())
        self._has_begun = True  # a report that the driver may not have heard was said again
        is_last = step >= self._run["settings"]["compute"]
        names = [*(f"watch/{name}" for name in ACCURACIES), *(ACCURACIES if is_last else ())]
        counts = {"step": step, "compute": float(step), "train_s": 0.0, "evaluation_s": 0.0}
        return {"metrics": dict.fromkeys(names, 0.5) | counts, "finished": is_last}


if __name__ == "__main__":
    # To pickle a class of this file, Ray looks through all modules; one that the mirror has half imported breaks then.
    import mlflow.tracking  # noqa: F401

    from tests.support.undrawn import draw_nothing
    from tuner.cli.app import main
    from tuner.execution import driver

    draw_nothing()
    driver.execute = functools.partial(driver.execute, trainable=Idle)
    main()
