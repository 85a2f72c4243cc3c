"""Where a study lies: a journal in a file or in PostgreSQL. Knows no sweep."""
