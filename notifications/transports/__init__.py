"""How a message leaves the console: one module for each kind of channel."""
