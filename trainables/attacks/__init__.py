"""Adversarial attacks in the L-infinity or the L2 ball, and the losses that they increase."""
