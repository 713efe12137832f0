"""Maps of trained methods, with noise too, are those of a run to the bit, and near them in another batch."""

from __future__ import annotations

from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import torch
from heads import head, image, write_set
from prediction_options import options

from adbench.config.options import Silent
from adbench.prediction.export import export
from adbench.prediction.model import load_model
from adbench.protocol.cell import build_cells
from adbench.protocol.fitting import fit
from adbench.protocol.scoring import Scorer

NEAR = 1e-3
"""Of the range of a map, in float32."""
CONTINUOUS = ["anoddpm"]
"""What decides nothing, such as the nearest code or a threshold, where rounding may turn an untrained network."""
VQVAE = ("vqvae.steps=20", "vqvae.batch_size=8", "vqvae.channels=8", "vqvae.codes=16")
UNET = ("unet.steps=4", "unet.batch_size=8", "unet.channels=[8,8]", "unet.head_channels=8", "unet.diffusion_steps=40")
SETTINGS = {
    "ddim": (*VQVAE, *UNET, "t_low=4", "t_high=20", "kl_timesteps=4", "start_t=12", "healing_steps=6"),
    "anoddpm": ("steps=4", "batch_size=8", "channels=[8,8]"),
}


@pytest.fixture(scope="module", params=SETTINGS)
def method(request, tmp_path_factory) -> SimpleNamespace:
    """A method trained for a moment: its cell, its detector as a run has it, its model, and a patient's scan."""
    root = tmp_path_factory.mktemp(request.param)
    write_set(root / "set", people=4)
    for folder, values in (("images", head(50, lesion=True)), ("lesions", head(50, lesion=True) > 1000)):
        (root / "set" / "test" / folder).mkdir(parents=True)
        nib.save(image(values.astype(np.int16)), root / "set" / "test" / folder / "p50.nii.gz")
    chosen = options(root, settings=SETTINGS[request.param])
    (cell,) = build_cells([request.param], "folder", chosen)
    export(request.param, "folder", chosen, Silent(), root / "model.adbench")
    model = load_model(root / "model.adbench", "cpu", "float32")
    return SimpleNamespace(cell=cell, model=model, scan=root / "set" / "test" / "images" / "p50.nii.gz")


@pytest.fixture
def images(method):
    (scan,) = method.model.find([method.scan])
    return method.model.dataset.prepare_scan(scan).images


def test_maps_of_a_prediction_are_those_of_a_run_to_the_bit(method, images):
    cell = method.cell
    scorer = Scorer(cell, fit(cell, Silent()).detector, cell.store(), Silent())
    (view,) = cell.data.dataset.scans(cell.data.splits.test)
    places = [int(cell.data.splits.test.sources[i].rpartition("[")[2][:-1]) for i in view.images]
    upwards = cell.data.splits.test.take(view.images[np.argsort(places)])
    assert np.array_equal(images, upwards.images)
    assert np.array_equal(method.model.maps(images), np.stack(list(scorer.maps(upwards, "test"))))


def test_a_scan_has_the_same_map_each_time(method, images):
    assert np.array_equal(method.model.maps(images), method.model.maps(images))


@pytest.mark.parametrize("method", CONTINUOUS, indirect=True)
@pytest.mark.parametrize(("batch_size", "threads"), [(1, 1), (3, 1), (100, 2), (3, 2)])
def test_in_float32_batch_and_threads_move_a_map_by_less_than_a_thousandth_of_its_range(
    method, images, batch_size, threads, monkeypatch
):
    model = method.model
    expected = model.maps(images)
    monkeypatch.setattr(model, "protocol", model.protocol.model_copy(update={"batch_size": batch_size}))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = model.maps(images)
    finally:
        torch.set_num_threads(before)
    assert np.abs(found - expected).max() <= NEAR * np.ptp(expected)
