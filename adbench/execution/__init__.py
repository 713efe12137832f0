"""Grids of cells: what a suite file asks for, and who runs it where."""
