"""From cells of the benchmark to records: what is measured, on what, and how."""
