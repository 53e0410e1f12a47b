"""What tuning leaves: a base and the map fitted to it, usable, saved as a folder, checked when loaded."""
