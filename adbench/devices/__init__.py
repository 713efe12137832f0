"""Devices, the clock, timing and the environment that a record names."""
