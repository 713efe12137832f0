"""The two contracts as tests: subclass one in a pytest module, and every rule that the harness relies on is checked.

    from adbench.testing import DetectorContract

    class TestMine(DetectorContract):
        detector_class = Mine
        settings = {"steps": 20}

Nothing is needed but pytest: detectors are checked on small images made here, a smooth head on a dark background, and
datasets on what their `load` returns. Keep settings tiny, since a detector is fitted twice.
"""

from adbench.testing.dataset import DatasetContract
from adbench.testing.detector import DetectorContract
from adbench.testing.toys import toy_split

__all__ = ["DatasetContract", "DetectorContract", "toy_split"]
