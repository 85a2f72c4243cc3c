"""What is done to whole sweeps between drives: copies, repairs, deletions."""
