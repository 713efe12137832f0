"""The training loop: resuming, averaging, the learning rate, and divergence."""

from __future__ import annotations

import signal

import pytest
import torch
from torch import nn

from adbench.errors import ArtifactError, TrainingError
from adbench.storage.saved import Checkpoint
from adbench.storage.spec import PartSpec
from adbench.storage.store import ArtifactStore
from adbench.training import curve, loop
from adbench.training.average import Ema
from adbench.training.loop import LoopOptions, learning_rate_factor, train
from adbench.training.streams import stream


class CutOffError(Exception):
    """Stands for whatever ends a run: a kill, a full disk, a closed lid."""


def net() -> nn.Module:
    """A small network with a buffer that training moves, as the VQ-VAE's codebook is."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 1))


def options(**changes) -> LoopOptions:
    given = {"what": "net", "steps": 30, "learning_rate": 0.02, "seed": 3, "weight_decay": 0.01, "warmup_steps": 5,
             "final_learning_rate": 0.1, "ema_decay": 0.8}  # fmt: skip
    return LoopOptions(**{**given, **changes})


def cut_off() -> None:
    raise CutOffError


def run(module, checkpoint, stop_at=None, chosen=None, seen=None, stop=cut_off) -> nn.Module:
    """Train on noise drawn from the loop's generator; cut off in step `stop_at`."""

    def loss_of(step: int, generator: torch.Generator) -> torch.Tensor:
        if step == stop_at:
            stop()
        if seen is not None:
            seen.append(step)
        x = torch.randn(16, 4, generator=generator)
        return (module(x)[:, 0] - x.sum(1)).square().mean()

    train(module, loss_of, chosen or options(), checkpoint, lambda *_: None)
    return module


@pytest.fixture(autouse=True)
def _checkpoint_after_every_step(monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY_S", -1.0)


@pytest.fixture
def checkpoint(tmp_path):
    return Checkpoint(tmp_path, pytest.fail)


@pytest.fixture(params=[signal.SIGINT, signal.SIGTERM])
def interrupting(request):
    """A signal that raises KeyboardInterrupt."""
    before = signal.signal(request.param, signal.default_int_handler)
    yield request.param
    signal.signal(request.param, before)


def test_an_interrupt_ends_a_training_after_its_step_with_that_state_saved(
    interrupting, checkpoint, tmp_path, monkeypatch
):
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY_S", float("inf"))
    with pytest.raises(KeyboardInterrupt):
        run(net(), checkpoint, stop_at=11, stop=lambda: signal.raise_signal(interrupting))
    assert signal.getsignal(interrupting) is signal.default_int_handler
    seen: list[int] = []
    resumed = run(net(), checkpoint, seen=seen)
    whole = run(net(), Checkpoint(tmp_path / "whole", pytest.fail))
    assert seen == list(range(12, 30))
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def test_a_second_interrupt_ends_a_training_at_once(interrupting, checkpoint, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY_S", float("inf"))

    def twice() -> None:
        signal.raise_signal(interrupting)
        signal.raise_signal(interrupting)

    with pytest.raises(KeyboardInterrupt):
        run(net(), checkpoint, stop_at=11, stop=twice)
    assert checkpoint.load() is None


@pytest.mark.parametrize("ema_decay", [0.8, 0.0])
def test_a_run_that_was_cut_off_and_resumed_gives_the_weights_of_one_that_was_not(ema_decay, checkpoint, tmp_path):
    chosen = options(ema_decay=ema_decay)
    whole = run(net(), Checkpoint(tmp_path / "other", pytest.fail), chosen=chosen)
    for stop_at in (1, 12, 29):
        with pytest.raises(CutOffError):
            run(net(), checkpoint, stop_at, chosen)
    seen = []
    resumed = run(net(), checkpoint, chosen=chosen, seen=seen)
    assert seen == [29]
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def kept_by_a_long_run(folder, cut_at=None, **changes) -> tuple[nn.Module, ArtifactStore, PartSpec]:
    store, spec = ArtifactStore(folder), PartSpec("net", 1, {}, "data", 0)
    chosen, module = options(steps=curve.TRIVIAL_STEPS + 3, **changes), net()
    if cut_at is not None:
        with pytest.raises(CutOffError):
            store.get(spec, lambda checkpoint: run(net(), checkpoint, cut_at, chosen).state_dict())
    store.get(spec, lambda checkpoint: run(module, checkpoint, chosen=chosen).state_dict())
    return module, store, spec


@pytest.mark.parametrize("ema_decay", [0.8, 0.0])
def test_a_part_keeps_eight_snapshots_of_its_averaged_weights_and_the_last_is_the_part(tmp_path, ema_decay):
    module, store, spec = kept_by_a_long_run(tmp_path, ema_decay=ema_decay)
    kept = store.beside(spec, "snapshot-")
    steps = [meta["step"] for _, meta in kept.values()]
    assert len(steps) == curve.SNAPSHOTS
    assert steps == sorted(steps)
    assert steps[-1] == curve.TRIVIAL_STEPS + 3
    first, *_, last = (tensors for tensors, _ in kept.values())
    for name, value in module.state_dict().items():
        assert torch.equal(last[name], value)
        assert not torch.equal(first[name], value)


def test_the_loss_curve_is_that_of_every_step_and_goes_on_after_a_cut(tmp_path):
    curves = []
    for folder, cut_at in (("whole", None), ("cut", 77)):
        _, store, spec = kept_by_a_long_run(tmp_path / folder, cut_at)
        ((tensors, meta),) = store.beside(spec, "loss-curve").values()
        assert int(tensors["steps"].sum()) == meta["steps"] == curve.TRIVIAL_STEPS + 3
        curves.append(tensors["loss"])
    assert torch.equal(*curves)
    assert curves[0][-20:].mean() < curves[0][:20].mean() / 2


def test_a_stretch_of_the_loss_curve_holds_the_mean_of_its_losses():
    losses = torch.rand(1000)
    found = curve.LossCurve(1000, torch.device("cpu"))
    for step, loss in enumerate(losses):
        found.add(step, loss)
    expected = torch.stack([part.mean() for part in losses.split(4)])
    assert torch.allclose(found.tensors["loss"], expected, atol=1e-6)


def test_a_trivial_training_keeps_no_snapshot(checkpoint, tmp_path):
    run(net(), checkpoint)
    assert not list(tmp_path.glob("snapshot-*"))


def test_what_was_done_after_the_last_checkpoint_is_done_again(checkpoint, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY_S", 3600.0)
    with pytest.raises(CutOffError):
        run(net(), checkpoint, 20)
    seen = []
    run(net(), checkpoint, seen=seen)
    assert seen == list(range(30))


def test_a_damaged_checkpoint_is_said_and_training_starts_again(tmp_path):
    with pytest.raises(CutOffError):
        run(net(), Checkpoint(tmp_path, pytest.fail), 12)
    (file,) = tmp_path.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-1])
    said, seen = [], []
    run(net(), Checkpoint(tmp_path, said.append), seen=seen)
    assert seen == list(range(30))
    assert "damaged" in said[0]


def test_the_averaged_weights_are_those_of_the_naive_recursion(monkeypatch, checkpoint):
    module, history = net(), []
    original = torch.optim.AdamW.step

    def step(self, *arguments, **given):
        done = original(self, *arguments, **given)
        history.append([p.detach().clone() for p in module.parameters()])
        return done

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    first = [p.detach().clone() for p in net().parameters()]
    run(module, checkpoint)
    average = first
    for i, weights in enumerate(history):
        decay = min(0.8, (1 + i) / (10 + i))
        average = [decay * a + (1 - decay) * w for a, w in zip(average, weights, strict=True)]
    for parameter, expected in zip(module.parameters(), average, strict=True):
        torch.testing.assert_close(parameter.detach(), expected)
    assert not module.training


def test_the_average_starts_at_the_weights_and_leaves_them_alone():
    module = net()
    ema = Ema(module, 0.999)
    assert all(torch.equal(ema.shadow[name], p) for name, p in module.named_parameters())
    before = [p.detach().clone() for p in module.parameters()]
    ema.update(module, 0)
    assert all(torch.equal(p, b) for p, b in zip(module.parameters(), before, strict=True))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_is_an_error_that_names_step_and_learning_rate(bad, checkpoint):
    module = net()

    def loss_of(step: int, generator: torch.Generator) -> torch.Tensor:
        return module(torch.ones(2, 4)).mean() * (bad if step == 6 else 1.0)

    with pytest.raises(TrainingError, match=r"net diverged at step 7 of 30 .*learning rate of 0\.02"):
        train(module, loss_of, options(), checkpoint, lambda *_: None)
    found = checkpoint.load()
    assert found is not None
    assert all(bool(v.isfinite().all()) for v in found[0].values())


def test_the_learning_rate_warms_up_linearly_and_falls_along_a_half_cosine():
    chosen = options(steps=105, warmup_steps=5, final_learning_rate=0.1)
    factors = [learning_rate_factor(step, chosen) for step in range(105)]
    assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert factors[5] == 1.0
    assert factors[55] == pytest.approx(0.55)
    assert factors[-1] == pytest.approx(0.1, abs=1e-3)
    assert factors[5:] == sorted(factors[5:], reverse=True)


def test_the_optimiser_gets_the_scheduled_learning_rate(monkeypatch, checkpoint):
    rates, original = [], torch.optim.AdamW.step

    def step(self, *arguments, **given):
        rates.append(self.param_groups[0]["lr"])
        return original(self, *arguments, **given)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    run(net(), checkpoint)
    assert rates == pytest.approx([0.02 * learning_rate_factor(i, options()) for i in range(30)])


def test_a_constant_learning_rate_stays_constant():
    chosen = options(warmup_steps=0, final_learning_rate=1.0)
    assert {learning_rate_factor(step, chosen) for step in range(30)} == {1.0}


def test_gradients_are_clipped_to_the_norm(monkeypatch, checkpoint):
    norms, original = [], torch.optim.AdamW.step

    def step(self, *arguments, **given):
        gradients = [p.grad.flatten() for group in self.param_groups for p in group["params"]]
        norms.append(float(torch.cat(gradients).norm()))
        return original(self, *arguments, **given)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    run(net(), checkpoint, chosen=options(clip_norm=0.01))
    assert norms == pytest.approx([0.01] * 30, rel=1e-3)


def test_progress_counts_every_step(checkpoint):
    said = []
    module = net()
    train(module, lambda *_: module(torch.ones(2, 4)).mean(), options(), checkpoint, lambda *args: said.append(args))
    assert said == [("net", i + 1, 30) for i in range(30)]


def test_a_stream_depends_on_name_seed_and_index_alone():
    keys = [(name, seed, index) for name in ("a", "b") for seed in (0, 1) for index in (0, 1)]
    draws = {float(torch.rand(1, generator=stream(*key), dtype=torch.float64)) for key in keys}
    assert len(draws) == len(keys)
    same = [torch.rand(3, generator=stream("a", 4, 9)) for _ in range(2)]
    assert torch.equal(*same)


def test_the_state_of_another_network_is_refused_by_name(checkpoint):
    with pytest.raises(CutOffError):
        run(net(), checkpoint, stop_at=5)
    other = nn.Sequential(nn.Linear(4, 9), nn.BatchNorm1d(9), nn.Tanh(), nn.Linear(9, 1))
    with pytest.raises(ArtifactError, match=r"module\.0\.bias is \(8,\) in the file and \(9,\) here.+of other code"):
        run(other, checkpoint)
