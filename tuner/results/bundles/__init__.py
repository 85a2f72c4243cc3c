"""Bundles: a trained classifier as a folder that stands alone, written, described and checked."""
