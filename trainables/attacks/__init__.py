"""Adversarial attacks in the L-infinity ball, and the losses that they increase."""
