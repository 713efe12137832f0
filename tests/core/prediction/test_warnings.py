"""Each warning of a scan unlike those trained on is given for a scan made so, and not for one that is alike."""

from __future__ import annotations

from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from prediction_options import options
from scipy import ndimage

from adbench.config.options import Silent
from adbench.prediction import sheet
from adbench.prediction.export import export
from adbench.prediction.model import load_model

SHAPE = (64, 72, 12)
SPACING = (3.0, 3.0, 8.0)


def scan(seed: int, skull: bool = True, scale: float = 1.0, spacing: tuple[float, ...] = SPACING) -> nib.Nifti1Image:
    """A head of ellipsoids: skin, the dark skull below it, and the brain; without skull the brain alone.

    `scale` makes it larger in voxels, `spacing` is of those.
    """
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    radius = np.sqrt((x / 0.72) ** 2 + (y / 0.75) ** 2 + (z / 1.4) ** 2) / scale
    tissue = 400 + 60 * y + 20 * np.random.default_rng(seed).standard_normal(SHAPE)
    values = np.where(radius < 0.8, tissue, 0)
    if skull:
        values = np.select([radius < 0.8, radius < 0.9, radius < 1], [tissue, 80, 500])
    return nib.Nifti1Image(np.clip(values, 0, None).astype(np.int16), np.diag([*spacing, 1.0]))


@pytest.fixture(scope="module", params=[True, False], ids=["with skull", "skull-stripped"])
def trained_so(request, tmp_path_factory) -> SimpleNamespace:
    """A model of FLAIR whose scans all have the skull, or none of them, and a way to what it says of a scan."""
    root = tmp_path_factory.mktemp("site")
    (root / "set" / "train").mkdir(parents=True)
    for seed in range(6):
        nib.save(scan(seed, request.param), root / "set" / "train" / f"person{seed}.nii.gz")
    chosen = options(root, settings=("data.modality=FLAIR",))
    export("healthy-zscore", "folder", chosen, Silent(), root / "model.adbench")
    model = load_model(root / "model.adbench", "cpu", "float32")

    def warnings(image: nib.Nifti1Image, name: str = "patient") -> list[str]:
        nib.save(image, root / f"{name}.nii.gz")
        return [text for text in model.predict(root / f"{name}.nii.gz").report.warnings if "outside" not in text]

    return SimpleNamespace(skull=request.param, warnings=warnings)


@pytest.mark.parametrize("name", ["patient", "patient_FLAIR", "sub-01_desc-preproc_FLAIR", "t2_flair_3d"])
def test_of_a_scan_that_is_alike_nothing_is_said(name, trained_so):
    assert trained_so.warnings(scan(20, trained_so.skull), name) == []


def test_a_skull_where_none_was_and_none_where_all_had_one(trained_so):
    told = [text for text in trained_so.warnings(scan(20, not trained_so.skull)) if text.startswith("skull")]
    seen, trained = ("not seen", "seen") if trained_so.skull else ("seen", "not seen")
    assert told == [f"skull: {seen}; in the scans trained on: {trained}"]


@pytest.mark.parametrize(
    ("name", "said"), [("patient_T1w", "T1"), ("BraTS-0001-t1c", "T1"), ("sub-01_T2w", "T2"), ("p01_mprage", "T1")]
)
def test_a_name_of_another_contrast(name, said, trained_so):
    told = trained_so.warnings(scan(20, trained_so.skull), name)
    assert told == [f"the model is of MRI FLAIR, but the name of this scan says {said}"]


@pytest.mark.parametrize(
    ("spacing", "what"),
    [
        ((1.5, 1.5, 8.0), "pixel in mm: 1.5; in the scans trained on: 3 to 3"),
        ((3.0, 3.0, 1.0), "distance of slices in mm: 1; in the scans trained on: 8 to 8"),
        ((3.0, 3.0, 16.0), "distance of slices in mm: 16; in the scans trained on: 8 to 8"),
    ],
)
def test_other_sizes_of_voxels(spacing, what, trained_so):
    assert what in trained_so.warnings(scan(20, trained_so.skull, spacing=spacing))


def test_a_head_that_is_too_small(trained_so):
    told = trained_so.warnings(scan(20, trained_so.skull, scale=0.6))
    for side in ("left to right", "front to back"):
        (text,) = [text for text in told if text.startswith(f"head {side} in mm")]
        size, (low, _) = float(text.split()[6].rstrip(";")), text.rpartition(": ")[2].split(" to ")
        assert size < 0.75 * float(low)
    assert not [text for text in told if text.startswith(("pixel", "distance"))]


def test_intensities_of_another_kind_of_image(trained_so):
    """As of a T1: what was bright is dark."""
    alike = scan(20, trained_so.skull)
    values = np.asanyarray(alike.dataobj)
    inside = ndimage.binary_fill_holes(values > 0)
    grey = np.random.default_rng(0).random(SHAPE) ** 6 * 800
    other = nib.Nifti1Image(np.where(inside, grey + 20, 0).astype(np.int16), alike.affine)
    assert any(text.startswith("intensities are unlike") for text in trained_so.warnings(other))


def test_a_warning_of_any_length_is_cut_to_its_line_at_once():
    picture = Image.new("RGB", (400, 30), "white")
    sheet._write_start(picture, "x" * 10_000_000, (6, 6))
    assert np.asarray(picture)[:, -6:].min() == 255
