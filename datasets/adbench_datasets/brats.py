"""`brats`: MRI of gliomas, skull-stripped, 1 mm, 240 x 240 x 155 (Menze et al. 2015; Baid et al. 2021).

`modality` chooses the contrast: FLAIR, T1, T1c (after contrast agent) or T2. Files are named flair, t1, t1ce and t2,
since 2023 t2f, t1n, t1c and t2w.

| release | folder of a case | files | labels |
|---|---|---|---|
| 2017 to 2019 | `{HGG,LGG}/Brats18_CBICA_AAB_1` (2019: `BraTS19_`) | `<case>_flair.nii.gz`, `_seg` | 0, 1, 2, 4 |
| 2020 | `BraTS20_Training_001` | the same; Kaggle's are `.nii`, one `W39_1998.09.19_Segm.nii` | 0, 1, 2, 4 |
| 2021 | `BraTS2021_00006` | the same | 0, 1, 2, 4 |
| 2023 | `BraTS-GLI-00006-000` | `<case>-t2f.nii.gz`, `-seg` | 0 to 3 |
| 2024 | `BraTS-GLI-03011-101`, the last number from 100 | the same | 4 too: resection cavity |

The lesion is the union of the labels. A resection cavity is neither tumour nor healthy: no metric counts it. Folders
of cases may lie anywhere to a depth of 5. The labels of the challenge's validation data are not public: cases without
any in a folder that is named so are left out and named. Subjects are known across
releases by what their names share, and by `name_mapping.csv` where it is there: a TCGA patient is `tcga/CS_4941`, as
in `tcga-lgg`. 2023 kept the numbers of 2021.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from os.path import isdir, isfile
from pathlib import Path
from typing import Literal

from pydantic import Field

from adbench.contracts.dataset import DatasetInfo
from adbench.errors import DataError
from adbench_datasets.imaging.cases import Case, FileRef, Labels
from adbench_datasets.layouts.contrasts import ContrastConfig, ContrastDataset
from adbench_datasets.layouts.discovery import listing, own_file
from adbench_datasets.layouts.reported import reported_on
from adbench_datasets.layouts.tables import read_table

OLD = re.compile(r"brats(17|18|19)_(.+)_(\d+)", re.IGNORECASE)  # institution and patient, examination
NUMBERED = re.compile(r"brats(20)_(training|validation)_(\d+)|brats(2021)_(\d+)", re.IGNORECASE)
GLI = re.compile(r"brats-gli-(\d+)-(\d+)", re.IGNORECASE)
TCGA = re.compile(r"TCGA[-_]([A-Z0-9]+)[-_]([A-Z0-9]+)")
IMAGES = {
    "FLAIR": re.compile(r"(.*)(?:_flair|-t2f)\.nii(\.gz)?", re.IGNORECASE),
    "T1": re.compile(r"(.*)(?:_t1|-t1n)\.nii(\.gz)?", re.IGNORECASE),
    "T1c": re.compile(r"(.*)(?:_t1ce|-t1c)\.nii(\.gz)?", re.IGNORECASE),
    "T2": re.compile(r"(.*)(?:_t2|-t2w)\.nii(\.gz)?", re.IGNORECASE),
}
SEG = re.compile(r"(?:(.*)[_-]seg|.*_Segm)\.nii(\.gz)?", re.IGNORECASE)  # Kaggle's is named as no case
POST_TREATMENT = 100  # 2024 counts examinations from here
TO_2021 = Labels(lesion=frozenset({1, 2, 4}))
FROM_2023 = Labels(lesion=frozenset({1, 2, 3}))
FROM_2024 = Labels(lesion=frozenset({1, 2, 3}), ignore=frozenset({4}))
DEPTH = 5
MAPPING = "name_mapping.csv"


class BratsConfig(ContrastConfig):
    modality: Literal["FLAIR", "T1", "T1c", "T2"] = Field("FLAIR", description="contrast; T1c: after contrast agent")
    healthy_margin_slices: int = Field(
        3, ge=0, description="slices this near to a tumour are not trained on (1 mm each)"
    )


class Brats(ContrastDataset[BratsConfig]):
    """Reads the training data of any release from 2017 to 2024."""

    Config = BratsConfig
    has_patients_of = ("tcga-lgg",)
    info = DatasetInfo(
        summary="FLAIR of gliomas, skull-stripped, multi-centre: the whole tumour is the lesion",
        licence="terms of the challenge's data use agreement (by release; since 2021 CC BY 4.0 for the TCIA part)",
        citation="Menze et al. 2015, IEEE TMI 34(10):1993-2024; Bakas et al. 2017, Scientific Data 4:170117; "
        "Baid et al. 2021, arXiv 2107.02314",
        modality="MRI FLAIR",
        access="by registration: https://www.synapse.org/brats (training data of one release, unpacked)",
        version="1",
        releases="2017 to 2024, training data",
        counts="labelled cases: 285 (2018), 335 (2019), 369 (2020), 1,251 (2021 and 2023)",
        unconfirmed="files of other releases than 2021",
        spacing_mm=1.0,
        reported=reported_on("brats"),
    )

    def cases(self, root: Path) -> list[Case]:
        """All cases below `root`. Raises DataError where there are none, or one subject's examination twice."""
        found = list(case_folders(root))
        if not found:
            raise DataError(
                f"brats looks for folders of cases (such as BraTS2021_00006, BraTS20_Training_001, Brats18_*_1 or "
                f"BraTS-GLI-00006-000), but {root} holds none. Point --data-root at the unpacked training data."
            )
        tcga = _mapped(found)
        return [_case(folder, tcga, self.config.modality, _withheld(folder, root)) for folder in found]

    def release(self, root: Path) -> str:
        """The years of the releases found."""
        return "BraTS " + ", ".join(sorted({_release(folder.name) for folder in case_folders(root)}))


def case_folders(root: Path, depth: int = DEPTH) -> Iterator[Path]:
    """Folders named as cases, none inside another."""
    if _release(root.name):
        yield root
    elif depth:
        for folder in listing(root):
            if isdir(folder):
                yield from case_folders(folder, depth - 1)


def _release(name: str) -> str:
    """Year of a case's name, or "" where it is none."""
    if match := OLD.fullmatch(name):
        return f"20{match[1]}"
    if match := NUMBERED.fullmatch(name):
        return "2020" if match[1] else "2021"
    if match := GLI.fullmatch(name):
        return "2024" if int(match[2]) >= POST_TREATMENT else "2023"
    return ""


def _withheld(folder: Path, root: Path) -> bool:
    """Whether a case lies in validation data, by the names of its folders up to the data root."""
    return any("validation" in name.lower() for name in (root.name, *folder.relative_to(root).parts))


def _case(folder: Path, tcga: dict[str, str], modality: str, withheld: bool) -> Case:
    year = _release(folder.name)
    subject, session = _subject(folder.name)
    labels = {"2023": FROM_2023, "2024": FROM_2024}.get(year, TO_2021)
    missing = FileRef(folder / f"{folder.name}_{modality.lower()}.nii.gz")  # reading will say so
    image = own_file(folder, IMAGES[modality], folder.name) or missing
    tumour = year != "2024"  # after treatment there may be none left
    return Case(
        tcga.get(folder.name, subject),
        image,
        own_file(folder, SEG, folder.name),
        labels=labels,
        session=session,
        shows_lesion=tumour,
        withheld=withheld,
    )


def _subject(name: str) -> tuple[str, str]:
    """(subject, examination): the part of a case's name that other releases share."""
    if match := OLD.fullmatch(name):
        return _institutional(match[2]), match[3]
    if match := NUMBERED.fullmatch(name):
        return (f"brats/2020_{match[2].lower()}_{match[3]}", "1") if match[1] else (f"brats/{match[5]}", "0")
    match = GLI.fullmatch(name)
    assert match is not None  # the caller chose such names
    return f"brats/{match[1]}", str(int(match[2]))


def _institutional(name: str) -> str:
    match = TCGA.fullmatch(name)
    return f"tcga/{match[1]}_{match[2]}" if match else f"brats/{name}"


def _mapped(folders: list[Path]) -> dict[str, str]:
    """Case -> subject by the tables that come with 2019 and 2020: the TCGA patient, else the name in 2017 to 2019."""
    subjects: dict[str, str] = {}
    for table in sorted({parent / MAPPING for folder in folders for parent in list(folder.parents)[:2]}):
        for row in read_table(table, []) if isfile(table) else []:
            names = [value for column, value in row.items() if "BraTS_20" in column and _release(value)]
            match = TCGA.search(" ".join(row.values()))
            older = next((OLD.fullmatch(name) for name in names if OLD.fullmatch(name)), None)
            if match or older:
                subject = f"tcga/{match[1]}_{match[2]}" if match else _institutional(older[2])  # type: ignore[index]
                subjects |= dict.fromkeys(names, subject)
    return subjects
