"""Scores and their honesty: exact search, ranking metrics, paired comparisons, the verdict."""
