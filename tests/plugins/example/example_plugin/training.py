"""A recipe's loop: what it does with a minibatch. Reports, evaluations and checkpoints are those of all recipes."""

import torch

from trainables.attacks.losses import cross_entropy
from trainables.training.loop import TrainingLoop


class NoiseTrainingLoop(TrainingLoop):
    """Training on images with Gaussian noise; random numbers come from `self.rng`, which checkpoints keep."""

    def train_minibatch(self):
        """Train the classifier on one minibatch."""
        images, labels = self.minibatches.next_minibatch()
        noise = torch.randn(images.shape, generator=self.rng, device=images.device)
        noisy = (images + self.config.deviation * noise).clamp(0.0, 1.0)
        self.run_update("noisy", self.update, noisy, labels)

    def update(self, images, labels):
        """Take one step of the optimiser and return the loss."""
        return self.descend(cross_entropy(self.classifier(images), labels).mean())
