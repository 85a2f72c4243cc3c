"""Evaluation of trained classifiers by the strongest attacks."""
