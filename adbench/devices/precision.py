"""The precision that a device computes in: measured once, then kept, so that later runs agree.

On some processors bf16 autocast is slower than float32 by a half, on others it halves the time; where a device has no
bfloat16 instructions it is many times slower and not tried. The weights are float32 either way.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast, get_args

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn
from torch.nn import functional as F

from adbench.config.options import AskedPrecision, Precision
from adbench.devices.clock import clocked
from adbench.devices.device import autocast, backend_of, computing
from adbench.errors import DeviceError
from adbench.storage.files import write_atomic, writing
from adbench.storage.leases import Lease
from adbench.storage.spec import canonical_hash

CHANNELS, SIDE, BATCH = 64, 16, 4
ENOUGH_S, MOST = 0.01, 4096
"""The batch is doubled until float32 takes that long, or it is that large: launching alone says nothing of a GPU."""
PAIRS, BUDGET_S = 7, 1.5
"""Most pairs of passes, and seconds after which none is begun."""
GAIN = 1.1
"""How many times faster bf16 must be, so that chance does not decide."""


class MeasuredPrecision(BaseModel):
    """Seconds of one training pass in both precisions, and what was decided."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: str
    torch: str
    threads: int
    float32_s: float
    bf16_s: float
    precision: Precision

    def __str__(self) -> str:
        seconds = f"{1e3 * self.bf16_s:.1f} ms against {1e3 * self.float32_s:.1f} ms in float32"
        return f"precision: {self.precision}, as bf16 took {seconds} (measured once; --precision overrides)"


def decide(device: torch.device, wanted: AskedPrecision, cache: Path, notify: Callable[[str], None]) -> Precision:
    """Return the precision for a run: the one that is `wanted`, or for `auto` the faster one.

    Raises:
        DeviceError: there is no such precision.
        ArtifactError: what was measured cannot be kept.
    """
    if wanted != "auto":
        return known(wanted)
    if not backend_of(device).has_bf16:
        return "float32"
    measured = _kept_or_measured(device, cache / "precision", notify)
    notify(str(measured))
    return measured.precision


def known(precision: str) -> Precision:
    """Return a precision that was named. Raises DeviceError where there is no such one."""
    if precision not in get_args(Precision):
        raise DeviceError(f"A precision is {', '.join(get_args(AskedPrecision))}; got {precision!r}.")
    return cast(Precision, precision)


def decide_for_all(
    devices: Sequence[torch.device], wanted: AskedPrecision, cache: Path, notify: Callable[[str], None]
) -> Precision:
    """Return the one precision of devices that score side by side. Raises as `decide`, and where they differ."""
    decided = {str(device): decide(device, wanted, cache, notify) for device in dict.fromkeys(devices)}
    if len(set(decided.values())) > 1:
        each = ", ".join(f"{device} takes {precision}" for device, precision in decided.items())
        raise DeviceError(
            f"Devices that score side by side must compute in one precision, but {each}. Choose with --precision."
        )
    return next(iter(decided.values()))


def _kept_or_measured(device: torch.device, folder: Path, notify: Callable[[str], None]) -> MeasuredPrecision:
    name, threads = backend_of(device).name, torch.get_num_threads()
    key = canonical_hash([name, torch.__version__, threads])[:12]
    path = folder / f"{device.type}-{key}.json"
    advice = "Name another folder with --cache, or choose with --precision."
    with writing("The precision of this device, measured once,", folder, advice):
        folder.mkdir(parents=True, exist_ok=True)
        with Lease(path.with_suffix(".lease")):  # of several processes that begin at once, one decides
            if path.is_file():
                try:
                    return MeasuredPrecision.model_validate_json(path.read_bytes())
                except ValidationError:
                    notify(f"{path} is damaged: the precision is measured again")
            float32_s, bf16_s = measure(device)
            precision: Precision = "bf16" if GAIN * bf16_s <= float32_s else "float32"
            measured = MeasuredPrecision(
                device=name,
                torch=torch.__version__,
                threads=threads,
                float32_s=float32_s,
                bf16_s=bf16_s,
                precision=precision,
            )
            write_atomic(path, measured.model_dump_json(indent=1).encode())
            return measured


def measure(device: torch.device) -> tuple[float, float]:
    """Return the median seconds of a pass forward and backward in float32 and in bf16, taken in turns."""
    began = time.perf_counter()
    with torch.random.fork_rng([]):  # all is drawn on the CPU, and what it is does not matter
        network = _Block().to(device)
        images = torch.randn(BATCH, CHANNELS, SIDE, SIDE).to(device)

    def seconds(precision: Precision) -> float:
        with computing(device, precision):
            return clocked(lambda: _train_once(network, images), device)

    seconds("float32")  # warm-up
    while seconds("float32") < ENOUGH_S and len(images) < MOST:
        images = images.repeat(2, 1, 1, 1)
    seconds("float32"), seconds("bf16")
    pairs: list[tuple[float, float]] = []
    while not pairs or (len(pairs) < PAIRS and time.perf_counter() - began < BUDGET_S):
        pairs.append((seconds("float32"), seconds("bf16")))
    float32, bf16 = zip(*pairs, strict=True)
    return statistics.median(float32), statistics.median(bf16)


def _train_once(network: nn.Module, images: Tensor) -> None:
    network.zero_grad(set_to_none=True)
    with autocast(images.device):
        out: Tensor = network(images)
    out.float().square().mean().backward()


class _Block(nn.Module):
    """A residual block with an attention, as the U-Net of the diffusion models has them."""

    def __init__(self) -> None:
        super().__init__()
        norm, act = nn.GroupNorm(32, CHANNELS), nn.SiLU()
        conv = [nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1) for _ in range(4)]
        self.convolutions = nn.Sequential(norm, act, conv[0], act, conv[1], act, conv[2], act, conv[3])
        self.qkv, self.out = nn.Linear(CHANNELS, 3 * CHANNELS), nn.Linear(CHANNELS, CHANNELS)

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, C, h, w) for that shape."""
        hidden = images + self.convolutions(images)
        q, k, v = self.qkv(hidden.flatten(2).transpose(1, 2)).unsqueeze(1).chunk(3, dim=-1)  # (B, 1, h * w, C)
        attended = self.out(F.scaled_dot_product_attention(q, k, v).squeeze(1))
        return hidden + attended.transpose(1, 2).reshape(hidden.shape)
