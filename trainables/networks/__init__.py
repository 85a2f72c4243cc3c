"""Classifiers, generators, and trained networks on disk."""
