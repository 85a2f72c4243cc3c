"""The recipes as a user would write them: a Dataset that converts image by image, a DataLoader, Adam, cross-entropy.

Same networks, same mathematics and same defaults as in `trainables`; each loop yields after every minibatch.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

from trainables.common.tasks import MNIST
from trainables.config import GeneratorConfig
from trainables.networks.classifiers import small_cnn
from trainables.networks.generators import build_generator

EPSILON = 0.3
LEARNING_RATE = 1e-3


class Images(Dataset[tuple[torch.Tensor, int]]):
    """Images as floats in [0, 1] with their labels: from a tensor, or by way of PIL as torchvision's MNIST goes."""

    def __init__(self, images: torch.Tensor, labels: torch.Tensor, through_pil: bool) -> None:
        self.images = images
        self.labels = labels
        self.through_pil = through_pil

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image, label = self.images[index], int(self.labels[index])
        if self.through_pil:  # what the dataset returns, and what ToTensor makes of it
            picture = Image.fromarray(image[0].numpy(), mode="L")
            image = torch.from_numpy(np.array(picture, copy=True)).unsqueeze(0)
        return image.float() / 255, label


def minibatches(images: Images, batch_size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    loader = DataLoader(images, batch_size=batch_size, shuffle=True)
    while True:
        yield from loader


def update(optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> float:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def gradient_of(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    images = images.clone().requires_grad_()
    with torch.enable_grad():
        loss = F.cross_entropy(model(images), labels, reduction="sum")
    return torch.autograd.grad(loss, images)[0]


def standard(images: Images, batch_size: int) -> Iterator[None]:
    model = small_cnn((1, 28, 28), 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    for x, y in minibatches(images, batch_size):
        update(optimizer, F.cross_entropy(model(x), y))
        yield


def fgsm_retraining(images: Images, batch_size: int) -> Iterator[None]:
    model = small_cnn((1, 28, 28), 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    for x, y in minibatches(images, batch_size):
        adversarial = (x + EPSILON * gradient_of(model, x, y).sign()).clamp(0, 1)
        update(optimizer, 0.5 * F.cross_entropy(model(x), y) + 0.5 * F.cross_entropy(model(adversarial), y))
        yield


def gan(images: Images, batch_size: int) -> Iterator[None]:
    config = GeneratorConfig()
    model, generator = small_cnn((1, 28, 28), 10), build_generator(config, MNIST)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    generator_optimizer = torch.optim.Adam(generator.parameters(), lr=config.learning_rate)

    def perturbed(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        gradient = gradient_of(model, x, y)
        size = gradient.pow(2).mean((1, 2, 3), keepdim=True).sqrt()
        seen = torch.cat([x, gradient / (size + 1e-12)], dim=1)
        return (x + config.perturbation_bound * generator(seen)).clamp(0, 1)

    generator_batches, classifier_batches = minibatches(images, batch_size), minibatches(images, batch_size)
    while True:
        x, y = next(generator_batches)
        model.requires_grad_(False)
        probabilities = model(perturbed(x, y)).softmax(-1)
        update(generator_optimizer, probabilities.gather(1, y.unsqueeze(1)).mean())
        model.requires_grad_(True)
        yield
        x, y = next(classifier_batches)
        with torch.no_grad():
            adversarial = perturbed(x, y)
        update(optimizer, 0.5 * F.cross_entropy(model(x), y) + 0.5 * F.cross_entropy(model(adversarial), y))
        yield


LOOPS = {"standard": standard, "fgsm_retraining": fgsm_retraining, "gan": gan}
