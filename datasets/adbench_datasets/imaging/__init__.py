"""From files of any kind to slices ready for a detector."""
