"""What preparing a large scan takes of memory, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import head_files
import nibabel as nib
import numpy as np
import pytest

SHAPE = (512, 512, 192)
RUN = """
import json, pathlib, sys
from adbench.cli.app import app
try:
    app(sys.argv[1:], prog_name="adbench")
except SystemExit as end:
    status = dict(line.split(":", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines())
    print(json.dumps([end.code or 0, 1024 * int(status["VmHWM"].split()[0])]), file=sys.stderr)
"""
"""`getrusage` would count what the process that started this one took."""


def write_set(root: Path, stored: str) -> None:
    """One large scan to test on, with float or scaled integer voxels, and small ones to train on."""
    x, y, z = (np.linspace(-1, 1, n, dtype=np.float32).reshape(np.roll((n, 1, 1), i)) for i, n in enumerate(SHAPE))
    noise = np.abs(np.random.default_rng(0).standard_normal(SHAPE, np.float32))
    image = np.where(x**2 + y**2 + z**2 < 0.7, np.float32(300), np.float32(0)) + 5 * noise
    lesion = ((x - 0.3) ** 2 + (y - 0.3) ** 2 + (z - 0.3) ** 2 < 0.02).astype(np.uint8)
    file = nib.Nifti1Image((image * 10).astype(np.int16) if stored == "int16" else image, np.diag([0.45, 0.45, 0.9, 1]))
    if stored == "int16":
        file.header.set_slope_inter(0.1, 0)
    nib.save(file, root / "large.nii.gz")
    nib.save(nib.Nifti1Image(lesion, file.affine), root / "mask.nii.gz")
    rows = [{"image": "large.nii.gz", "lesion": "mask.nii.gz", "brain": "", "subject": "large", "split": "test"}]
    for i, split in enumerate(("train", "validation", "validation")):
        head_files.write_nifti(root / f"s{i}.nii.gz", head_files.head(i, lesion=False).image)
        rows.append({"image": f"s{i}.nii.gz", "lesion": "", "brain": "", "subject": f"s{i}", "split": split})
    head_files.write_csv(root / "cases.csv", rows)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="Linux says what a process took in /proc")
@pytest.mark.parametrize("stored", ["float32", "int16"])
def test_preparing_a_large_scan_takes_less_than_4_times_its_size_as_float32(tmp_path, stored):
    write_set(tmp_path, stored)
    command = ["data", "prepare", "folder", "--data-root", str(tmp_path), "--cache", str(tmp_path / "cache")]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", RUN, *command], env=one_thread, capture_output=True, text=True)
    code, peak = json.loads(done.stderr.splitlines()[-1])
    times = peak / (4 * np.prod(SHAPE))
    print(f"{stored}: {times:.2f} times its size as float32")
    assert code == 0, done.stderr
    assert times < 4
