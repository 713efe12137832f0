"""Trained detectors: parts described once, and the loop that trains them and resumes."""
