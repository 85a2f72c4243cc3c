"""Networks: classifiers, generators and what these are trained by, and trained classifiers on disk."""
