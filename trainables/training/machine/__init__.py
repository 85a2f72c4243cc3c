"""How training uses the machine: threads, number formats, and CUDA graphs."""
