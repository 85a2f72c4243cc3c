"""Training loops: what all recipes share, each recipe, and the generator with its turns."""
