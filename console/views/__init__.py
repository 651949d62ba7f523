"""The shell and the pages that look into every app."""
