"""Inside a Ray worker: the trainable, its device, its log, and fencing of earlier attempts."""
