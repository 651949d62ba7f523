"""What base.html asks for."""
