"""Standard training: cross-entropy on clean images. The ruler of compute, and what is lost without any defence."""

from __future__ import annotations

from trainables.loop import TrainingLoop


class StandardLoop(TrainingLoop):
    """One update on clean images per minibatch."""

    def train_minibatch(self) -> None:
        """Train the classifier on one clean minibatch."""
        self.train_clean_minibatch()
