"""Storage of Optuna's studies: a journal in a file or in PostgreSQL. Imports nothing of a sweep."""
