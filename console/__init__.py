"""Store Point Console: the Django project and the shell every page sits in."""

__version__ = "0.1.0"
