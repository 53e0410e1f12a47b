"""Classifiers on top of vectors: fitted, calibrated, able to abstain, and kept as arrays."""
