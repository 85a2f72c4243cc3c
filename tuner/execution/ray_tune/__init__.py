"""Everything that touches Ray Tune."""
