"""A sweep's folder, and what is known of its runs."""
