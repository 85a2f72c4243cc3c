"""Tests of the networks that are built of blocks."""
