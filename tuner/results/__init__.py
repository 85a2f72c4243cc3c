"""What a sweep says: comparisons, tables, figures, exports. Needs neither Ray nor MLflow."""
