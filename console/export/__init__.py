"""The console's database as one file: written daily, read back on another machine."""
