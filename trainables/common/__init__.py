"""What every room may use: retries, and secrets masked in text."""
