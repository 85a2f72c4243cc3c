"""The training loop, its recipes, and the generator's turns."""
