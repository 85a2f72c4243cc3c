"""Learns: recipes, networks, attacks and their evaluation, in one process. Only `ray_trainable` knows Ray."""
