"""Finding cases in data folders, and what all sets of scans have in common."""
