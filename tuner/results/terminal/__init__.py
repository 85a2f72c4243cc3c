"""How results fit a terminal, a pipe or a file: tables, sentences, and what shows that something goes on."""
