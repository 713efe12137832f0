"""Python imports this when a process of a cluster starts: what is to befall it is known before it begins."""

import sys
from pathlib import Path

if sys.orig_argv[1:4] == ["-m", "adbench", "run"]:
    sys.path.append(str(Path(__file__).parents[1]))
    from striking import arm

    arm(sys.orig_argv[3:])
