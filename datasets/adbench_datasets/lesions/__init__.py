"""Lesions drawn into healthy images."""
