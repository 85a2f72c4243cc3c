"""Files that appear whole or not at all, here and in object stores; checkpoints."""
