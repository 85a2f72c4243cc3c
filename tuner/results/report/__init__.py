"""The report of a sweep: one HTML file that explains what was searched, what was found, and how sure that is."""
