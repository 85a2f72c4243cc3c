"""A network: a function of the images' shape and the number of classes that returns a module."""

from torch import nn


def tiny_cnn(image_shape, num_classes, width):
    """Return a network of two convolutions, with batch normalisation; the second one has twice the channels."""
    channels, _, _ = image_shape
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, stride=2, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * width, num_classes),
    )
