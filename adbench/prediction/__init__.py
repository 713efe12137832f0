"""Trained models that travel: one file with all that is needed to score a new scan, and what is written about it."""
