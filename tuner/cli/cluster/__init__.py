"""A cluster from the command line: its nodes, commands that run on it, and the job that runs them there."""
