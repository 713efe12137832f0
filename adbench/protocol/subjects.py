"""One row a subject: what is known of each at network size, and on the scan's own grid where there are scans."""

from __future__ import annotations

import pandas as pd

from adbench.metrics.catalogue.at_points import dice_by_subject
from adbench.metrics.catalogue.subject_auprc import auprc_by_subject
from adbench.metrics.evidence import Evidence
from adbench.metrics.points import POINTS
from adbench.results.subjects import SEPARATOR


def subject_rows(of: Evidence, scans: pd.DataFrame | None) -> pd.DataFrame:
    """Return one row a subject, in the order of their names; undefined numbers are missing.

    Columns: subject, images, lesion_pixels, auprc, `<point>:pixel_dice` of each operating point, and those of `scans`
    (`adbench.protocol.volumes.judge`).
    """
    counted = of.flagged.pixels
    images = pd.Series(list(of.subjects)).value_counts()
    rows = pd.DataFrame({"subject": pd.Series(sorted(images.index), dtype="string")}).set_index("subject")
    rows["images"] = images.reindex(rows.index)
    rows["lesion_pixels"] = pd.Series({subject: int(at[0, 2]) for subject, at in counted.items()}, dtype="float64")
    rows["auprc"] = pd.Series(auprc_by_subject(of)[0], dtype="float64")
    for point in POINTS:
        threshold = of.thresholds[point.rate]
        dice = {} if point.missing(threshold) else dice_by_subject(of, of.index(point.rate))
        rows[f"{point.key}{SEPARATOR}pixel_dice"] = pd.Series(dice, dtype="float64")
    rows["lesion_pixels"] = rows["lesion_pixels"].fillna(0).astype("int64")
    return rows.reset_index() if scans is None else rows.join(scans.set_index("subject")).reset_index()
