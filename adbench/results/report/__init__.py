"""Results as static HTML that opens from disk: leaderboard, charts, pictures and provenance of the records."""
