"""Imported by processes that fork for tests: none of them measures whether bfloat16 is faster, as in `conftest.py`."""

from adbench.devices.cpu import Cpu

Cpu.has_bf16 = False
