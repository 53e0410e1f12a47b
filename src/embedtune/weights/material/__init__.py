"""What each task's labels are to a trainer: steps with a loss, and held-out rows with a score."""
