"""What somebody else would write: one detector and one dataset, from the public names of adbench alone."""

from stranger_adbench.discs import Discs
from stranger_adbench.mean_distance import MeanDistance

__all__ = ["Discs", "MeanDistance"]
