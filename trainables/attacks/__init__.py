"""Attacks in the L-infinity ball, and the losses that they climb."""
