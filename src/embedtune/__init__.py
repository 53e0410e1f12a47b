"""Tune pre-trained embeddings to a task, judge honestly, ship the result."""
