"""A Ray cluster from outside: its Jobs API, commands that run there, and the start of its nodes."""
