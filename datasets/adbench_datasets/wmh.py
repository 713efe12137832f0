"""`wmh`: white matter hyperintensities of the MICCAI 2017 challenge, 3 mm FLAIR slices of five scanners.

Both releases are read. Original: `Utrecht/<id>`, `Singapore/<id>`, `Amsterdam GE3T/<id>` (also written `GE3T`,
`Amsterdam_GE3T`). 2022: `training/` and `test/` with `Utrecht/<id>`, `Singapore/<id>`, `Amsterdam/GE3T/<id>`, and in
`test/` also `Amsterdam/GE1T5` and `Amsterdam/Philips_VU .PETMR_01.` (a space and a trailing dot). Each subject has
`pre/FLAIR.nii.gz` (bias-corrected; `T1.nii.gz` beside it, on its grid), `orig/FLAIR.nii.gz` and `wmh.nii.gz`: 1 is WMH,
2 is another pathology, which no metric counts, as in the challenge. Layouts are from the code of public loaders.
"""

from __future__ import annotations

from collections.abc import Iterator
from os.path import exists
from pathlib import Path
from typing import Literal

from pydantic import Field

from adbench.contracts.dataset import DatasetInfo
from adbench.errors import DataError
from adbench_datasets.imaging.cases import Case, FileRef, Labels
from adbench_datasets.layouts.contrasts import ContrastConfig, ContrastDataset
from adbench_datasets.layouts.discovery import find, listing
from adbench_datasets.layouts.reported import reported_on

FOLDERS = ("WMH", "wmh", "wmh_data", "dataverse_files", "WMH_Segmentation_Challenge", "public")
GE3T = ("Amsterdam GE3T", "Amsterdam_GE3T", "GE3T")
LABELS = Labels(lesion=frozenset({1}), ignore=frozenset({2}))


class WMHConfig(ContrastConfig):
    modality: Literal["FLAIR", "T1"] = Field("FLAIR", description="contrast; lesions were drawn on FLAIR")
    source: Literal["pre", "orig"] = Field("pre", description="images after bias correction, or as they were scanned")
    subset: Literal["all", "training", "test"] = Field(
        "all", description="subjects of the training set, or of the test set"
    )


class WMH(ContrastDataset[WMHConfig]):
    """Reads either release; only tested on, since these subjects were chosen for their lesions."""

    Config = WMHConfig
    own_split = False
    info = DatasetInfo(
        summary="FLAIR with white matter hyperintensities of presumed vascular origin, 3 hospitals, 5 scanners",
        licence="for research, by the terms on the page of the data",
        citation="Kuijf et al. 2019, IEEE TMI 38(11), DOI 10.1109/TMI.2019.2905770; data DOI 10.34894/AECRSD",
        modality="MRI FLAIR",
        access="public: https://doi.org/10.34894/AECRSD (WMH Segmentation Challenge), unpacked",
        version="1",
        releases="original, and 2022 with the test set",
        counts="60 training and 110 test subjects, 5 scanners",
        unconfirmed="the files: layouts are from public code or the set's page, none was seen",
        reported=reported_on("wmh"),
    )

    def cases(self, root: Path) -> list[Case]:
        """One case a subject folder; the two releases never mix. Raises DataError where neither is found."""
        place, subset = find_place(root), self.config.subset
        parts = ("training", "test") if release_of(place) == "2022" else (".",)
        if subset == "test" and parts == (".",):
            raise DataError(
                f"data.subset=test needs the 2022 release, but {place} holds the original one: leave it out."
            )
        if subset != "all" and parts != (".",):
            parts = (subset,)
        found = [_case(folder, site, self.config) for part in parts for site, folder in _subjects(place / part)]
        return found

    def release(self, root: Path) -> str:
        """The year, and what it holds."""
        known = {"2022": "2022 (training and test)", "original": "original (training only)"}
        return known[str(release_of(find_place(root)))]


def find_place(root: Path) -> Path:
    """Return the folder that holds a release. Raises DataError saying what was looked for, and where."""
    wanted = "training/ and test/ (2022 release) or Utrecht/, Singapore/ and Amsterdam GE3T/ (original release)"
    return find(root, "wmh", FOLDERS, release_of, wanted)


def release_of(place: Path) -> str | None:
    """The release in a folder, or None."""
    if any(_subjects(place / part) for part in ("training", "test")):
        return "2022"
    return "original" if _subjects(place) else None


def _subjects(part: Path) -> list[tuple[str, Path]]:
    """(site, subject folder) of all subjects of a part of the challenge."""
    return [(site, folder) for site, place in _sites(part) for folder in listing(place) if _is_subject(folder)]


def _sites(part: Path) -> Iterator[tuple[str, Path]]:
    """Known sites; below Amsterdam every folder is a scanner."""
    for site in ("Utrecht", "Singapore"):
        yield site, part / site
    for name in GE3T:
        yield "Amsterdam/GE3T", part / name
    for scanner in listing(part / "Amsterdam"):
        yield f"Amsterdam/{scanner.name}", scanner


def _is_subject(folder: Path) -> bool:
    return any(exists(folder / name) for name in ("pre", "orig", "wmh.nii.gz", "wmh.nii"))


def _case(folder: Path, site: str, config: WMHConfig) -> Case:
    """A subject; where the mask is missing the case has none."""
    image = _nifti(folder / config.source / f"{config.modality}.nii.gz")
    mask = _nifti(folder / "wmh.nii.gz")
    lesion = FileRef(mask) if exists(mask) else None
    return Case(f"wmh/{site}/{folder.name}", FileRef(image), lesion, labels=LABELS, shows_lesion=True)


def _nifti(path: Path) -> Path:
    """The file, or the same without `.gz` where only that exists."""
    plain = path.with_suffix("")
    return plain if not exists(path) and exists(plain) else path
