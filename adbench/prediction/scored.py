"""Prepared slices through a trained detector, batch by batch as a run scores them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from adbench.config.options import Precision
from adbench.contracts.detector import Detector
from adbench.contracts.scans import PreparedScan
from adbench.devices.device import computing
from adbench.metrics.evidence import map_quantile
from adbench.prediction.report import SliceScores
from adbench.protocol.protocol import MeasurementProtocol
from adbench.protocol.scoring import image_scores, map_scores, median_of

Floats = NDArray[np.float32]


def batches(
    detector: Detector[Any], images: Floats, protocol: MeasurementProtocol, precision: Precision, method: str
) -> Iterator[tuple[torch.Tensor, Floats]]:
    """Yield each batch of images, on the device, with its score maps (B, 1, H, W) as they come. Raises ScoreError.

    What is done with a batch is computed in the same precision.
    """
    device, size = detector.runtime.device, protocol.batch_size
    for i in range(0, len(images), size):
        batch = torch.from_numpy(np.array(images[i : i + size])).to(device)
        with computing(device, precision):
            yield batch, map_scores(detector, batch, method)


def finished(maps: Sequence[Floats], protocol: MeasurementProtocol) -> Floats:
    """All maps (n, 1, H, W), post-processed."""
    if protocol.postprocess == "median":
        maps = [median_of(each, protocol.median_px) for each in maps]
    return np.concatenate(maps)


def own_scores(detector: Detector[Any], batch: torch.Tensor, maps: Floats, method: str) -> Floats:
    """The method's image-level scores (B,); of one without a rule of its own from its maps, not made twice."""
    if type(detector).image_scores is Detector.image_scores:
        return np.asarray(torch.from_numpy(maps).mean(dim=(1, 2, 3)).numpy())
    return image_scores(detector, batch, method)


def slice_scores(prepared: PreparedScan, maps: Floats, own: Floats, region: str) -> list[SliceScores]:
    """Image-level scores of each slice, as a run measures them."""
    nothing = np.zeros(maps.shape[1:], bool)
    inside = list(prepared.brains) if region == "brain" else [None] * len(maps)
    rows = zip(prepared.slices, maps, inside, own, strict=True)
    return [
        SliceScores(slice=int(z), percentile_99=float(map_quantile(scores, nothing, valid)), own=float(mine))
        for z, scores, valid, mine in rows
    ]
