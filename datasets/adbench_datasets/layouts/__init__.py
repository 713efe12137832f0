"""What datasets of scans share: how their files are found and become splits."""
