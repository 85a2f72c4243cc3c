"""Evaluation of trained classifiers by the strongest attacks, and examples of what their checkpoints do."""
