"""First-party datasets of adbench: one module a dataset."""
