"""Synthetic lesions."""
