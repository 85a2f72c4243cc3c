"""A network: a function of the images' shape and the number of classes that returns a module."""

from torch import nn


def tiny_cnn(image_shape, num_classes):
    """Return a network of two convolutions, with batch normalisation."""
    channels, _, _ = image_shape
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(64, num_classes),
    )
