"""People: users, roles, signing in."""
