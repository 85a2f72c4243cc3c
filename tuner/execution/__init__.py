"""From `launch` to the last trial: checks, the driver, retries, single runs."""
