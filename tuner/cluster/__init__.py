"""The laptop's side of a Ray cluster: its Jobs API, the commands that run there, and the nodes' start."""
