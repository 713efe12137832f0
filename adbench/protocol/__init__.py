"""What is measured and how: from cells to records."""
