"""From the text of a search-space file to its parts, with the line of every mistake."""
