"""What a method and a dataset are: all that a plugin imports beside errors, storage and devices."""
