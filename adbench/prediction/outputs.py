"""Where what is written of a scan lies: in a folder of its own, or of BIDS in a derivative dataset.

<out>/<scan>/prediction.json, scores.nii.gz, lesions-<point>.nii.gz, sheet.png

<out>/dataset_description.json
<out>/sub-*/[ses-*/]anat/<entities>_desc-anomaly_statmap.nii.gz, .json     the score map, and the report as its sidecar
<out>/sub-*/[ses-*/]anat/<entities>_desc-anomaly<point>_mask.nii.gz
<out>/sub-*/[ses-*/]figures/<entities>_desc-anomaly_statmap.png
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from adbench import __version__
from adbench.contracts.scans import NewScan
from adbench.errors import ConfigError

BIDS_VERSION = "1.10.0"
DESCRIPTION = "dataset_description.json"
GENERATOR = "brain-adbench"
DERIVED = "derivatives"


@dataclass(frozen=True)
class Outputs:
    """The files of one scan."""

    report: Path
    """JSON, written last."""
    scores: Path
    sheet: Path
    lesions: dict[str, Path]
    """Key of an operating point -> mask of what it flags."""

    pattern: str
    """Of the names of all masks of the scan, beside the score map."""

    def masks(self) -> list[Path]:
        """Those that are there, of whatever points."""
        return list(self.scores.parent.glob(self.pattern))

    def remove(self) -> None:
        for path in (self.report, self.scores, self.sheet, *self.masks()):
            path.unlink(missing_ok=True)

    def are_there(self) -> bool:
        return all(path.is_file() for path in (self.report, self.scores, self.sheet, *self.lesions.values()))


def outputs_of(out: Path, scan: NewScan, points: Sequence[str]) -> Outputs:
    """The files of a scan, with a mask for each of the points."""
    if scan.bids is None:
        folder = out / scan.name
        masks = {key: folder / f"lesions-{key}.nii.gz" for key in points}
        sheet = folder / "sheet.png"
        return Outputs(folder / "prediction.json", folder / "scores.nii.gz", sheet, masks, "lesions-*pct.nii.gz")
    place = out / scan.bids
    scores = f"{place.name}_desc-anomaly_statmap"
    masks = {key: place.with_name(f"{place.name}_desc-anomaly{key}_mask.nii.gz") for key in points}
    sheet = place.parents[1] / "figures" / f"{scores}.png"
    report, image = (place.with_name(f"{scores}.{suffix}") for suffix in ("json", "nii.gz"))
    return Outputs(report, image, sheet, masks, f"{place.name}_desc-anomaly*pct_mask.nii.gz")


def check_apart(out: Path, paths: Sequence[Path], scans: Sequence[NewScan]) -> None:
    """Raise ConfigError where results would lie among the scans: nothing is written into someone's data.

    A folder in `derivatives` of a BIDS dataset is apart from it, unless something else made it.
    """
    place = real(out)
    inside = any(path.is_dir() and _is_inside(place, real(path), scans) for path in paths)
    if (
        inside
        or _is_in_dataset(place)
        or any(real(file).is_relative_to(place) for scan in scans for file in scan.files)
    ):
        raise ConfigError(
            f"Predictions have a folder of their own, but {out} lies among the scans: name another by -o, which for "
            f"BIDS may be {DERIVED}/NAME."
        )
    named = [scan.bids for scan in scans if scan.bids is not None]
    if len(set(named)) < len(named):
        raise ConfigError("One BIDS dataset has each name once, but several were given: predict them one by one.")
    if not _is_ours(out):
        raise ConfigError(f"{out} is a dataset that something else made: name another folder by -o.")


def real(path: Path) -> Path:
    """Where links lead; of one that leads back to itself, as far as they lead: reading it says so."""
    return Path(os.path.realpath(path))


def _is_inside(place: Path, path: Path, scans: Sequence[NewScan]) -> bool:
    derived = path / DERIVED
    apart = any(scan.bids is not None for scan in scans) and place.is_relative_to(derived) and place != derived
    return place.is_relative_to(path) and not apart


def _is_in_dataset(place: Path) -> bool:
    """Whether a folder lies in a BIDS dataset, whatever of it is predicted, and not in a folder of its derivatives."""
    for folder in place.parents:
        if folder.name == DERIVED:
            return False
        if (folder / DESCRIPTION).is_file():
            return True
    return False


def _is_ours(out: Path) -> bool:
    try:
        content = json.loads((out / DESCRIPTION).read_bytes())
        return bool(content["GeneratedBy"][0]["Name"] == GENERATOR)
    except (FileNotFoundError, NotADirectoryError):  # the latter shows when it is written
        return True
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return False


def description(method: str, trained_on: str) -> bytes:
    """`dataset_description.json` of the predictions of a model."""
    content = {
        "Name": f"Predictions of {method} trained on {trained_on}",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": GENERATOR, "Version": __version__, "Description": f"adbench predict with {method}"}],
    }
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()
