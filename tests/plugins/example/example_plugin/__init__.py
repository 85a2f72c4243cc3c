"""An example of a plug-in: a dataset, a network, an attack, a recipe and a space."""
