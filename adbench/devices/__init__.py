"""What a computation runs on: the device, its clock, its memory, and the environment around it."""
