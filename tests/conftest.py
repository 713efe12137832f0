"""One thread a process: tests run in parallel by processes, and sums do not depend on the machine's number of cores."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # read when torch and numpy start
