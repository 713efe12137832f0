"""Time `adbench list`: exits with 1 where the median is half a second or more, or where torch is imported.

Usage: python benchmarks/startup.py [repeats]
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

LIMIT_S = 0.5
LIST = "import sys; sys.argv = ['adbench', 'list']; from adbench.cli.app import main; main()"
BROUGHT = f"""
import atexit, sys
atexit.register(lambda: print('torch' in sys.modules, file=sys.stderr))
{LIST}
"""


def seconds() -> float:
    """Wall time of one `adbench list` in a fresh interpreter."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", LIST], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def imports_torch() -> bool:
    end = subprocess.run([sys.executable, "-c", BROUGHT], check=True, capture_output=True, text=True)
    return end.stderr.strip().endswith("True")


def main() -> int:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    seconds()  # byte code and file cache
    times = [seconds() for _ in range(repeats)]
    median, torch = statistics.median(times), imports_torch()
    print(f"adbench list: median {median:.3f} s of {repeats} (best {min(times):.3f}, worst {max(times):.3f})")
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; torch imported: {torch}")
    return int(median >= LIMIT_S or torch)


if __name__ == "__main__":
    sys.exit(main())
