"""What a run would take, found out without doing it: `adbench run --dry-run`.

What would be done is each cell's plan. Times come from one real training step and one real forward pass on this device,
FLOPs from PyTorch's counter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from adbench.config.options import Reporter, RunOptions
from adbench.contracts.plan import PartPlan, Run
from adbench.devices.clock import clocked
from adbench.devices.device import backend_of
from adbench.devices.flops import count_flops
from adbench.devices.threads import threads_each
from adbench.errors import RecordError
from adbench.protocol.cell import Cell, build_cells
from adbench.protocol.planned import named
from adbench.results.record import read_record
from adbench.storage.depot import Depot
from adbench.storage.spec import canonical_hash
from adbench.storage.store import ArtifactStore
from adbench.storage.travel import is_at
from adbench.training.curve import snapshot_steps


@dataclass(frozen=True)
class PartForecast:
    """What one part would take; None where a figure does not apply."""

    key: str
    kind: str
    status: str
    """reuse, fetch, resume, train or compute."""
    steps: int
    parameters: int | None
    flops: int | None
    estimated_s: float | None
    memory_bytes: int | None
    """Most bytes above those in use before, of one training step; without the optimiser's two copies of the weights."""
    disk_bytes: int | None
    """Of its weights and their snapshots."""


@dataclass(frozen=True)
class CellForecast:
    """What one cell would take."""

    method: str
    dataset: str
    config_hash: str
    seed: int
    record: Path
    record_exists: bool
    parts: list[PartForecast]
    passes: dict[str, int]
    flops_per_100: int | None
    estimated_score_s: float | None
    """Seconds for all images that the run scores, from the network passes alone."""
    estimated_memory_bytes: int | None
    estimated_disk_bytes: int | None
    """Of the score maps that are kept; none where another cell has the same ones."""
    devices: list[str]
    """That score side by side; the first trains."""


@dataclass(frozen=True)
class _Cost:
    seconds: float
    flops: int
    memory_bytes: int
    parameters: int = 0
    weights_bytes: int = 0


Network = tuple[tuple[str, int, str, str], ...]
"""Of each part: kind, version, hash of the config, and data. Another seed costs the same."""


@dataclass(frozen=True)
class Known:
    """What other cells have already shown; one for all forecasts that belong together."""

    measured: bool = True
    """Whether networks are made and timed."""
    parts: dict[str, PartForecast] = field(default_factory=dict)
    steps: dict[Network, _Cost] = field(default_factory=dict)
    """Of training, by the parts up to the one that is trained."""
    passes: dict[Network, _Cost] = field(default_factory=dict)
    """Of networks, by their trained parts."""
    scored: set[tuple[str, str, int]] = field(default_factory=set)
    """Dataset, hash and seed of the scores that are planned: another region is measured on the same."""


def forecast(
    methods: Sequence[str], datasets: str | Sequence[str], options: RunOptions, reporter: Reporter
) -> list[CellForecast]:
    """Return what each cell would take. Raises AdbenchError where the run itself would, on the user's input."""
    known = Known()
    return [of_cell(cell, known) for cell in build_cells(methods, datasets, options, reporter)]


def of_cell(cell: Cell, known: Known) -> CellForecast:
    """Return what one cell would take. Raises as `forecast`."""
    forward = _forward(cell, known)
    parts = [_of_part(i, forward, cell, known) for i in range(len(cell.plan.parts))]
    passes, batch = cell.plan.passes, cell.protocol.batch_size
    new = known.measured and _scores_are_new(cell, known)
    map_bytes = 4 * math.prod(cell.data.splits.test.images.shape[1:])  # float32, without their medians
    return CellForecast(
        method=cell.method,
        dataset=cell.data.name,
        config_hash=cell.config_hash,
        seed=cell.options.seed,
        record=cell.record_path,
        record_exists=_is_done(cell),
        parts=parts,
        passes=dict(passes),
        flops_per_100=int(forward.flops / batch * 100 * sum(passes.values())) if forward else None,
        estimated_score_s=new * (forward.seconds * _all_passes(cell) / _gain(cell)) if forward else None,
        estimated_memory_bytes=forward.memory_bytes if forward else None,
        estimated_disk_bytes=new * map_bytes * sum(_counts(cell)) if known.measured else None,
        devices=[str(device) for device in (cell.device, *cell.beside)],
    )


def _scores_are_new(cell: Cell, known: Known) -> bool:
    """Whether no other cell has the same scores."""
    scores = cell.data.name, cell.scores_hash, cell.options.seed
    new = scores not in known.scored
    known.scored.add(scores)
    return new


def _gain(cell: Cell) -> float:
    """How many times as fast as the first device all score; processes on one device share its threads."""
    n = 1 + len(cell.beside)
    return n * threads_each(n) / threads_each() if backend_of(cell.device).divisible else n


def _is_done(cell: Cell) -> bool:
    """Whether a run would find its record and stop there."""
    if cell.options.force or not cell.record_path.is_file():
        return False
    try:
        return read_record(cell.record_path).status == "ok"
    except RecordError:
        return False


def _forward(cell: Cell, known: Known) -> _Cost | None:
    """Cost of one network pass on a scoring batch; measured once where methods share the network."""
    plan = cell.plan
    if not plan.forward or not plan.passes or not known.measured:
        return None
    network = _network([part for part in plan.parts if part.build])
    if network not in known.passes:
        with cell.computing(), named(cell.plugin):
            known.passes[network] = _cost(plan.forward(cell.protocol.batch_size), cell)
    return known.passes[network]


def _all_passes(cell: Cell) -> int:
    """Network passes of all that a run scores: maps, and image-level scores of the test images."""

    def batches(n: int) -> int:
        return -(-n // cell.protocol.batch_size)

    maps, images = sum(map(batches, _counts(cell))), batches(len(cell.data.splits.test))
    return sum(cell.plan.passes.values()) * maps + cell.plan.image_passes * images


def _counts(cell: Cell) -> tuple[int, int]:
    """Images with score maps: test images that count, and validation images for the transferred threshold."""
    return len(cell.data.splits.test), min(len(cell.data.reference), cell.protocol.reference_images)


def _network(parts: Sequence[PartPlan]) -> Network:
    specs = [part.spec for part in parts]
    return tuple((spec.kind, spec.version, canonical_hash(dict(spec.config)), spec.data) for spec in specs)


def _of_part(index: int, forward: _Cost | None, cell: Cell, known: Known) -> PartForecast:
    part = cell.plan.parts[index]
    key = part.spec.key
    if key not in known.parts:
        parameters, step, memory, disk = None, forward, None, None
        if part.build and known.measured:
            step = _step(cell.plan.parts[: index + 1], cell, known)
            parameters, memory = step.parameters, step.memory_bytes
            disk = step.weights_bytes * (1 + len(snapshot_steps(part.steps)))
        status = _status(part, cell)
        flops = step.flops * part.steps if step else None
        seconds = 0.0 if status in ("reuse", "fetch") else step.seconds * part.steps if step else None
        known.parts[key] = PartForecast(
            key, part.spec.kind, status, part.steps, parameters, flops, seconds, memory, disk
        )
    return known.parts[key]


def _step(parts: Sequence[PartPlan], cell: Cell, known: Known) -> _Cost:
    """Cost of one training step of the last of these parts."""
    network, build = _network(parts), parts[-1].build
    if network not in known.steps and build:
        with cell.computing(), named(cell.plugin):
            module, run = build()
            parameters = sum(each.numel() for each in module.parameters())
            weights = sum(each.nbytes for each in module.state_dict().values())
            known.steps[network] = replace(_cost(run, cell), parameters=parameters, weights_bytes=weights)
    return known.steps[network]


def _status(part: PartPlan, cell: Cell) -> str:
    """How a run will come by a part: as the store does, in this order."""
    store = ArtifactStore.below(cell.options.cache)
    if store.has(part.spec):
        return "reuse"
    if cell.options.parts is not None and is_at(Depot(cell.options.parts), part.spec.key):
        return "fetch"
    if store.has_checkpoint(part.spec):
        return "resume"
    return "compute" if part.computed else "train"


def _cost(run: Run, cell: Cell) -> _Cost:
    """Time, FLOPs and memory of one call, after a first one that warms up."""
    memory: list[int] = []
    with backend_of(cell.device).peak_memory(memory):
        flops = count_flops(run)
    return _Cost(clocked(run, cell.device), flops, memory[0])
