"""A mask that was not found is not none, in any set: named by a check and refused by a run until the user says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import layouts_ct
import layouts_folder
import layouts_mri
import layouts_ms
import pytest
from adbench_datasets.atlas import Atlas
from adbench_datasets.bhsd import BHSD
from adbench_datasets.brats import Brats
from adbench_datasets.ct_bleeds import KCH, Cromis
from adbench_datasets.ct_ich import CTICH
from adbench_datasets.folder import Folder
from adbench_datasets.instance22 import Instance22
from adbench_datasets.isbi2015 import ISBI2015
from adbench_datasets.layouts.scans import ScanDataset
from adbench_datasets.ms_muslim import MSMuslim
from adbench_datasets.mslesseg import MSLesSeg
from adbench_datasets.mslub import MSLUB
from adbench_datasets.tcga_lgg import TCGALGG
from adbench_datasets.wmh import WMH

from adbench.contracts.dataset import DataRuntime
from adbench.errors import DataError

SETS = {
    "tcga-lgg": (TCGALGG, layouts_mri.make_tcga_lgg, "kaggle", "TCGA_CS_4942*_7_mask.tif"),
    "brats": (Brats, layouts_mri.make_brats, "2021", "BraTS2021_00001_seg.nii.gz"),
    "mslub": (MSLUB, layouts_mri.make_mslub, "original", "patient02_consensus_gt.nii.gz"),
    "wmh": (WMH, layouts_mri.make_wmh, "2022", "training/Singapore/50/wmh.nii.gz"),
    "mslesseg": (MSLesSeg, layouts_ms.make_mslesseg, "official", "P2_T1_MASK.nii.gz"),
    "ms-muslim": (MSMuslim, layouts_ms.make_ms_muslim, "mendeley", "2-LesionSeg-Flair.nii"),
    "isbi2015": (ISBI2015, layouts_ms.make_isbi2015, "nii", "training02_01_mask1.nii"),
    "atlas": (Atlas, layouts_ms.make_atlas, "2.0", "sub-r001s002*_mask.nii.gz"),
    "ct-ich volumes": (CTICH, layouts_ct.make_ct_ich, "1.3.1", "masks/050.nii"),
    "ct-ich slices": (CTICH, layouts_ct.make_ct_ich, "1.0.0", "050/brain/*_HGE_Seg.jpg"),
    "instance22": (Instance22, layouts_ct.make_instance22, "train", "label/002.nii.gz"),
    "bhsd": (BHSD, layouts_ct.make_bhsd, "label_192", "ground truths/*b2.nii.gz"),
    "cromis": (Cromis, (lambda root, release: layouts_ct.make_bleeds(root, clean=())), "", "masks/s2.nii"),
    "kch": (KCH, (lambda root, release: layouts_ct.make_bleeds(root, clean=())), "", "masks/s2.nii"),
    "folder": (Folder, layouts_folder.make_folder, "folders", "lesions/s5.nii.gz"),
}
every_set = pytest.mark.parametrize("name", SETS)


def make(cls: type[ScanDataset[Any]], root: Path, **config: Any) -> ScanDataset[Any]:
    return cls(cls.Config(**{"size": 64, **config}), root, DataRuntime(workers=1))


def lesion_px(data: ScanDataset[Any]) -> dict[str, int]:
    """Of each subject in the test images of a set."""
    test = data.load_test()
    found = dict.fromkeys(test.subjects, 0)
    for subject, lesion in zip(test.subjects, test.lesions, strict=True):
        found[subject] += int(lesion.sum())
    return found


@every_set
def test_an_image_without_its_mask_is_named_and_refused_and_never_healthy_unless_the_user_says_so(tmp_path, name):
    cls, layout, release, pattern = SETS[name]
    layout(tmp_path, release=release)
    before = lesion_px(make(cls, tmp_path))
    mask = sorted(tmp_path.rglob(pattern))[0]
    mask.unlink()
    with pytest.raises(DataError, match=r"not found is not none, but 1 images .*data\.unmatched=healthy"):
        make(cls, tmp_path).load_test()
    problems = make(cls, tmp_path).inspect().problems
    assert [problem.skipped for problem in problems] == [True, False]
    assert any("unmatched" in problem.what for problem in problems)
    left = lesion_px(make(cls, tmp_path, unmatched="skip", max_skipped_fraction=0.5))
    assert sum(left.values()) < sum(before.values())
    assert all(pixels <= before[subject] for subject, pixels in left.items())
    # of other contrasts of ms-muslim, and of the other rater of isbi2015: beside one nobody is healthy
    for other in (*mask.parent.glob("2-LesionSeg-*"), *mask.parent.glob("training02_01_mask2*")):
        other.unlink()
    declared = lesion_px(make(cls, tmp_path, unmatched="healthy"))
    assert declared.keys() == before.keys()
    assert sum(declared.values()) < sum(before.values())


ELSEWHERE = {
    "brats": "tumour.nii.gz",
    "wmh": "wmh_mask.nii.gz",
    "isbi2015": "training02_01_lesion.nii",
    "mslesseg": "mask/P2_T1_MASK.nii.gz",
    "ct-ich slices": "../masks/1_HGE_Seg.jpg",
    "ct-ich volumes": "../mask/050.nii",
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_nobody_is_called_healthy_whose_folder_or_the_one_beside_it_holds_a_mask_that_is_not_read(tmp_path, name):
    cls, layout, release, pattern = SETS[name]
    layout(tmp_path, release=release)
    mask = sorted(tmp_path.rglob(pattern))[0]
    other = mask.parent / ELSEWHERE[name]
    other.parent.mkdir(exist_ok=True)
    mask.rename(other)
    with pytest.raises(DataError, match="may be that of"):
        make(cls, tmp_path, unmatched="healthy").load_test()


IMAGES = {
    "tcga-lgg": "TCGA_CS_4942*_5.tif",
    "brats": "BraTS2021_00001_flair.nii.gz",
    "mslub": "patient02_FLAIR.nii.gz",
    "wmh": "training/Singapore/50/pre/FLAIR.nii.gz",
    "ms-muslim": "2-Flair.nii",
    "isbi2015": "training02_01_flair_pp.nii",
    "atlas": "sub-r001s002*_T1w.nii.gz",
}
NAMED_ALIKE = {
    "ct-ich volumes": "ct_scans/050.nii",
    "ct-ich slices": "050/brain/5.jpg",
    "instance22": "data/002.nii.gz",
    "bhsd": "images/*b2.nii.gz",
    "cromis": "images/s2.nii",
    "folder": "images/s5.nii.gz",
}


@pytest.mark.parametrize("name", IMAGES)
def test_a_mask_without_its_image_is_named_and_refused_unless_the_user_says_so(tmp_path, name):
    cls, layout, release, _ = SETS[name]
    layout(tmp_path, release=release)
    before = lesion_px(make(cls, tmp_path))
    sorted(tmp_path.rglob(IMAGES[name]))[0].unlink()
    for unmatched in ("refuse", "healthy"):
        with pytest.raises(DataError, match=r"A mask has an image, but 1 have none: .*data\.unmatched=skip"):
            make(cls, tmp_path, unmatched=unmatched).load_test()
    left = lesion_px(make(cls, tmp_path, unmatched="skip", max_skipped_fraction=0.5))
    assert left.items() <= before.items()
    assert len(left) == len(before) - 1


@pytest.mark.parametrize("name", NAMED_ALIKE)
def test_a_mask_that_has_the_name_of_no_image_is_refused(tmp_path, name):
    cls, layout, release, _ = SETS[name]
    layout(tmp_path, release=release)
    image = sorted(tmp_path.rglob(NAMED_ALIKE[name]))[0]
    if name == "ct-ich slices":  # one with a mask
        image = image.with_name(sorted(image.parent.glob("*_HGE_Seg.jpg"))[0].name.replace("_HGE_Seg", ""))
    image.unlink()
    with pytest.raises(DataError, match=r"for 1 of the masks in .* there is no image"):
        make(cls, tmp_path, unmatched="skip").load_test()


OF_TWO = {
    "tcga-lgg": ("TCGA_CS_4942*_7_mask.tif", "TCGA_CS_4944*_7_mask.tif"),
    "brats": ("BraTS2021_00001_seg.nii.gz", "BraTS2021_00002_seg.nii.gz"),
    "mslub": ("patient02_consensus_gt.nii.gz", "patient03_consensus_gt.nii.gz"),
    "mslesseg": ("P2_T1_MASK.nii.gz", "P3_T1_MASK.nii.gz"),
    "mslesseg, of another session": ("P1_T1_MASK.nii.gz", "P1_T2_MASK.nii.gz"),
    "ms-muslim": ("2-LesionSeg-Flair.nii", "3-LesionSeg-Flair.nii"),
    "isbi2015": ("training01_01_mask1.nii", "training02_01_mask1.nii"),
    "atlas": ("sub-r001s002*_mask.nii.gz", "sub-r002s003*_mask.nii.gz"),
}


@pytest.mark.parametrize("beside", [True, False])
@pytest.mark.parametrize("name", OF_TWO)
def test_a_mask_that_is_named_as_of_another_is_no_mask_of_the_patient_in_whose_folder_it_lies(tmp_path, name, beside):
    cls, layout, release, _ = SETS[name.split(",")[0]]
    layout(tmp_path, release=release)
    own, other = (next(iter(tmp_path.rglob(pattern))) for pattern in OF_TWO[name])
    (own.parent / other.name).write_bytes(other.read_bytes())
    if not beside:
        own.unlink()
    for unmatched in ("refuse", "skip", "healthy"):
        data = make(cls, tmp_path, unmatched=unmatched)
        for verb in (data.load_test, data.inspect):
            with pytest.raises(DataError, match=rf"{other.name} is of .* by its name, not of "):
                verb()


@pytest.mark.parametrize("name", ["brats", "mslub", "mslesseg", "ms-muslim", "atlas"])
def test_of_two_masks_of_an_image_one_must_be_kept(tmp_path, name):
    cls, layout, release, pattern = SETS[name]
    layout(tmp_path, release=release)
    (mask,) = tmp_path.rglob(pattern)
    packed = mask.suffix == ".gz"
    (mask.with_suffix("") if packed else mask.with_name(f"{mask.name}.gz")).write_bytes(mask.read_bytes())
    with pytest.raises(DataError, match=r"One file of a kind is needed, but here are .*: keep one"):
        make(cls, tmp_path).load_test()


def test_validation_data_of_brats_are_left_out_and_named_whatever_the_user_says_of_others(tmp_path):
    layouts_mri.make_brats(tmp_path / "training")
    layouts_mri.make_brats(tmp_path / "elsewhere", n=5)
    (withheld,) = (tmp_path / "elsewhere").rglob("BraTS2021_00004")
    (withheld / "BraTS2021_00004_seg.nii.gz").unlink()
    place = tmp_path / "training" / "BraTS2021_ValidationData"
    place.mkdir()
    withheld.rename(place / withheld.name)
    for unmatched in ("refuse", "skip", "healthy"):
        data = make(Brats, tmp_path / "training", unmatched=unmatched)
        assert "brats/00004" not in data.load_test().subjects
        (problem,) = data.inspect().problems
        assert problem.skipped
        assert problem.what == "has no public lesion mask, as its folder says"
