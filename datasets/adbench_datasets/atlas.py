"""`atlas`: T1 after stroke, ATLAS 2.0, with lesions drawn by trained students (Liew et al. 2022).

`ATLAS_2/Training/R001/sub-r001s001/ses-1/anat/sub-r001s001_ses-1_space-MNI152NLin2009aSym_T1w.nii.gz` and, beside it,
`..._label-L_desc-T1lesion_mask.nii.gz`: 1 mm on the MNI grid, skull on, defaced. `Testing` has no masks and is not
read. Layouts are from public code that reads the set.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from os.path import isdir
from pathlib import Path

from pydantic import Field

from adbench.contracts.dataset import DatasetInfo
from adbench_datasets.imaging.cases import Case, FileRef
from adbench_datasets.layouts.discovery import find, listing, own_file
from adbench_datasets.layouts.scan_config import ScanConfig
from adbench_datasets.layouts.scans import ScanDataset

FOLDERS = ("Training", "ATLAS_2/Training", "ATLAS_R2.0/ATLAS_2/Training", "atlas", "atlas/Training", "ATLAS")
IMAGE = re.compile(r"(sub-[0-9A-Za-z]+_ses-[0-9A-Za-z]+)_space-\w+_T1w\.nii(\.gz)?")
SPACE = "MNI152NLin2009aSym"
MASK = re.compile(r"(sub-[0-9A-Za-z]+_ses-[0-9A-Za-z]+)_[\w-]*label-[0-9A-Za-z]+_desc-T1lesion_mask\.nii(\.gz)?")


class AtlasConfig(ScanConfig):
    healthy_margin_slices: int = Field(
        3, ge=0, description="slices this near to a lesion are not trained on (1 mm each)"
    )


class Atlas(ScanDataset[AtlasConfig]):
    """Reads the training part."""

    Config = AtlasConfig
    modality = "MRI"
    info = DatasetInfo(
        summary="T1 of people after stroke, 33 cohorts: the stroke is the lesion",
        licence="terms of the release's data use form",
        citation="Liew et al. 2022, Scientific Data 9:320, DOI 10.1038/s41597-022-01401-7",
        modality="MRI T1",
        access="by form: https://fcon_1000.projects.nitrc.org/indi/retro/atlas.html (encrypted), unpacked",
        version="1",
        spacing_mm=1.0,
        releases="2.0",
        counts="655 subjects with masks in Training, 300 without in Testing",
        unconfirmed="the files: names are from public code, none was seen",
    )

    def cases(self, root: Path) -> list[Case]:
        """One case a session. Raises DataError where a file is of another session, or an image has several masks."""
        return [
            Case(f"atlas/{folder.parent.name}", image, _file(folder, MASK), session=folder.name, shows_lesion=True)
            for folder, image in _images(find_place(root))
        ]


def find_place(root: Path) -> Path:
    """Return the folder of the cohorts. Raises DataError saying what was looked for, and where."""
    return find(root, "atlas", FOLDERS, _recognised, "R<n>/sub-r<n>s<n>/ses-1/anat/ with *_T1w.nii.gz")


def _recognised(place: Path) -> str | None:
    return "2.0" if next(_images(place), None) else None


def _images(place: Path) -> Iterator[tuple[Path, FileRef]]:
    """(session, image); where there is a mask alone, the image that is missing: reading will say so."""
    for cohort in listing(place):
        if re.fullmatch(r"R\d+", cohort.name):
            for subject in listing(cohort):
                for session in filter(isdir, listing(subject)):
                    missing = session / "anat" / f"{subject.name}_{session.name}_space-{SPACE}_T1w.nii.gz"
                    if image := _file(session, IMAGE) or (FileRef(missing) if _file(session, MASK) else None):
                        yield session, image


def _file(session: Path, name: re.Pattern[str]) -> FileRef | None:
    return own_file(session / "anat", name, f"{session.parent.name}_{session.name}")
