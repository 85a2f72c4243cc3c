"""Shuffled minibatches without end, whose state is one number."""

from __future__ import annotations

import torch

from trainables.common.seeds import seed_for
from trainables.config import AugmentationConfig
from trainables.data.augmentation import augment
from trainables.data.tensors import Split
from trainables.training.machine.reading import without_wait


class Minibatches:
    """Minibatches of a split, epoch after epoch, in an order that depends on the seed and the epoch alone.

    The last minibatch of an epoch may be smaller. The whole state is ``num_drawn``, how many were drawn so far;
    setting it continues from there.
    """

    def __init__(
        self, split: Split, batch_size: int, seed: int, augmentation: AugmentationConfig | None = None
    ) -> None:
        """Begin with the first minibatch.

        Args:
            split: the images.
            batch_size: how many are in a minibatch.
            seed: of their order, and of what is drawn to change them.
            augmentation: how they are changed; None leaves them as they are.
        """
        self._augmentation = augmentation if augmentation != AugmentationConfig() else None
        self._split = split
        self._batch_size = batch_size
        self._seed = seed
        self._order_of: tuple[int, torch.Tensor] | None = None
        self.num_drawn = 0

    @property
    def per_epoch(self) -> int:
        """How many minibatches an epoch has."""
        return -(-len(self._split) // self._batch_size)

    def next_minibatch(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the next images ``(batch, C, H, W)`` in [0, 1] and labels ``(batch,)``."""
        self.num_drawn += 1
        return self.at(self.num_drawn - 1)

    def at(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what call ``number`` of `next_minibatch`, counted from 0, has returned or will return."""
        epoch, position = divmod(number, self.per_epoch)
        index = self._order(epoch)[position * self._batch_size : (position + 1) * self._batch_size]
        images, labels = self._split.batch(index)
        if self._augmentation is not None:
            images = augment(images, self._augmentation, seed_for(self._seed, "augmentation", number))
        return images, labels

    def _order(self, epoch: int) -> torch.Tensor:
        if self._order_of is None or self._order_of[0] != epoch:
            rng = torch.Generator().manual_seed(seed_for(self._seed, "epoch", epoch))
            order = torch.randperm(len(self._split), generator=rng)
            self._order_of = (epoch, without_wait(order, self._split.index_device))
        return self._order_of[1]
