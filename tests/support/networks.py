"""Small ones of every network of the catalogue."""

from __future__ import annotations

from trainables.networks.classifiers import NetworkBuilder, network_builder

SMALL_SIZES: dict[str, dict[str, int]] = {
    "preact_resnet18": {"width": 4},
    "wide_resnet_28_10": {"width": 4, "depth": 10},
}
"""Sizes of those networks whose usual ones take a test too long."""


def small_builder(architecture: str) -> NetworkBuilder:
    """Return what builds a network of the catalogue, a small one where it can be."""
    return network_builder(architecture, {}, SMALL_SIZES.get(architecture))
