"""One module for each page about people."""
