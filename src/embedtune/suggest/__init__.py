"""What to label next: which items and pairs, and the rows to fill in."""
