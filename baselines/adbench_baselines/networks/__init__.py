"""Networks and parts that methods share, and the base of the reconstruction methods."""
