"""A dry run says what a run would take, and does nothing."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
import torch
import toys

from adbench.devices.flops import count_flops
from adbench.errors import ConfigError
from adbench.protocol import harness
from adbench.protocol.cell import build_cells
from adbench.protocol.forecast import CellForecast, forecast

SMALL_DATA = ["data.n_train=2", "data.n_validation=40", "data.n_test=8"]
SMALL_BATCHES = ["vqvae.batch_size=1", "unet.batch_size=1", "protocol.batch_size=1", "protocol.reference_images=2"]


@pytest.fixture(autouse=True)
def _plugins(tmp_path, monkeypatch):
    toys.install(tmp_path / "site", monkeypatch)


def expect(tmp_path: Path, *methods: str, settings: tuple[str, ...] = (), **given: object) -> list[CellForecast]:
    return forecast(methods, "toy", toys.options(tmp_path, *settings, **given), toys.Diary())


def status(tmp_path: Path) -> str:
    (cell,) = expect(tmp_path, "toy-trained")
    (part,) = cell.parts
    return part.status


def test_a_dry_run_writes_nothing(tmp_path):
    expect(tmp_path, "toy-trained", "toy-brightness")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "cache").exists()


def test_a_part_is_trained_then_resumed_then_reused(tmp_path):
    class Cut(toys.Diary):
        def progress(self, what: str, done: int, total: int) -> None:
            if done == 3:
                raise KeyboardInterrupt

    assert status(tmp_path) == "train"
    with pytest.raises(KeyboardInterrupt):
        harness.run(["toy-trained"], "toy", toys.options(tmp_path), Cut())
    assert status(tmp_path) == "resume"
    harness.run(["toy-trained"], "toy", toys.options(tmp_path), toys.Diary())
    assert status(tmp_path) == "reuse"


def test_a_dry_run_names_the_record_that_a_run_writes_and_the_parts_that_it_trains(tmp_path):
    (cell,) = expect(tmp_path, "toy-trained", seed=3)
    assert not cell.record_exists
    (record,) = harness.run(["toy-trained"], "toy", toys.options(tmp_path, seed=3), toys.Diary())
    assert (cell.config_hash, cell.seed) == (record.config_hash, record.seed)
    assert cell.record == tmp_path / "out" / record.path
    assert [part.key for part in cell.parts] == list(record.detector.artifacts.values())
    assert expect(tmp_path, "toy-trained", seed=3)[0].record_exists


def test_a_record_counts_where_a_run_would_stop_at_it(tmp_path):
    harness.run(["toy-raising", "toy-brightness"], "toy", toys.options(tmp_path), toys.Diary())
    assert [cell.record_exists for cell in expect(tmp_path, "toy-raising", "toy-brightness")] == [False, True]
    assert not expect(tmp_path, "toy-brightness", force=True)[0].record_exists


def test_methods_that_share_a_part_show_the_same_one(tmp_path):
    trained, twin = expect(tmp_path, "toy-trained", "toy-twin")
    assert trained.parts == twin.parts
    assert trained.record != twin.record


def test_what_is_unknown_is_none(tmp_path):
    (cell,) = expect(tmp_path, "toy-brightness")
    assert (cell.parts, cell.passes, cell.flops_per_100, cell.estimated_score_s) == ([], {}, None, None)
    (part,) = expect(tmp_path, "toy-trained")[0].parts
    assert (part.steps, part.parameters, part.flops, part.estimated_s) == (4, None, None, None)


@pytest.fixture(scope="module")
def latent(tmp_path_factory):
    """What is forecast of the methods of the paper at the preset `small`, on little data in small batches."""
    folder = tmp_path_factory.mktemp("forecast")
    options = toys.options(folder, *SMALL_DATA, *SMALL_BATCHES, preset="small")
    methods = ["ddpm", "ddim", "ddpm-a", "vqvae-residual"]
    cells = forecast(methods, "phantom", options, toys.Diary())
    assert list(folder.iterdir()) == []
    return dict(zip(methods, cells, strict=True)), build_cells(["ddpm"], "phantom", options)[0]


@pytest.mark.parametrize(("method", "passes"), [("ddpm", 700), ("ddim", 100), ("ddpm-a", 500), ("vqvae-residual", 0)])
def test_network_passes_are_those_of_the_paper(latent, method, passes):
    assert sum(latent[0][method].passes.values()) == passes


def test_methods_of_one_family_share_both_networks_but_not_the_maps(latent):
    parts = {name: [part.key for part in cell.parts] for name, cell in latent[0].items()}
    assert parts["ddpm"][:2] == parts["ddim"][:2] == parts["ddpm-a"]
    assert parts["ddpm"][:1] == parts["vqvae-residual"]
    assert parts["ddpm"][2] != parts["ddim"][2]
    config = latent[1].config
    assert [part.steps for part in latent[0]["ddpm"].parts[:2]] == [config.vqvae.steps, config.unet.steps]


def test_a_second_region_is_measured_on_the_scores_of_the_first(tmp_path):
    options = toys.options(tmp_path, *SMALL_DATA, *SMALL_BATCHES, "protocol.region=image,brain")
    first, second = forecast(["ddim"], "phantom", options, toys.Diary())
    assert first.record != second.record
    assert first.parts == second.parts
    assert first.estimated_score_s > second.estimated_score_s == 0


def test_parameters_and_flops_are_those_of_the_networks(latent):
    from adbench_baselines.diffusion.unet import LatentModel
    from adbench_baselines.networks.vqvae import VQVAE

    expected, cell = latent
    vqvae, unet = VQVAE(cell.config.vqvae), LatentModel(cell.config.unet, cell.config.vqvae.latent_channels).eval()
    counts = [sum(p.numel() for p in module.parameters()) for module in (vqvae, unet)]
    assert [part.parameters for part in expected["ddpm"].parts] == [*counts, None]
    assert [part.status for part in expected["ddpm"].parts] == ["train", "train", "compute"]
    channels, side = cell.config.vqvae.latent_channels, 64 // cell.config.vqvae.factor
    with torch.no_grad():
        one_pass = count_flops(lambda: unet(torch.zeros(1, channels, side, side), torch.tensor([400])))
    assert expected["ddpm"].flops_per_100 == 700 * 100 * one_pass
    assert expected["ddim"].flops_per_100 == 100 * 100 * one_pass
    train = expected["ddpm"].parts[1]
    assert 2 * one_pass < train.flops / train.steps < 4 * one_pass, "a training step is about three passes"


def test_times_are_positive_and_follow_the_passes(latent):
    expected, cell = latent
    splits, protocol = cell.data.splits, cell.protocol

    def batches(images):
        return -(-images // protocol.batch_size)

    maps = batches(len(splits.test)) + batches(min(len(cell.data.reference), protocol.reference_images))
    image_passes = batches(len(splits.test)) * cell.config.image_timesteps
    ratio = (700 * maps + image_passes) / (100 * maps + image_passes)
    assert expected["ddpm"].estimated_score_s == pytest.approx(ratio * expected["ddim"].estimated_score_s)
    assert all(part.estimated_s > 0 for part in expected["ddpm"].parts)
    assert expected["vqvae-residual"].estimated_score_s is None


def test_a_dry_run_refuses_what_a_run_would_refuse(tmp_path):
    rule = ["threshold=position", "percentile=97.5"]
    options = toys.options(tmp_path, *SMALL_DATA, *rule, "data.n_validation=39")
    with pytest.raises(ConfigError, match="needs at least 40 healthy validation images, got 20"):
        forecast(["ddim"], "phantom", options, toys.Diary())


def test_a_forecast_can_be_shown_as_a_mapping(tmp_path):
    (cell,) = expect(tmp_path, "toy-trained")
    assert asdict(cell)["parts"][0]["status"] == "train"
