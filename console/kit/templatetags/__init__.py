"""Words for numbers and times in templates."""
