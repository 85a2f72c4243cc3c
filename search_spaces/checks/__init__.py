"""Checks that a space's keys, schedules and metrics are those of its recipe."""
