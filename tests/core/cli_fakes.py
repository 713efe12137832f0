"""A harness that only remembers what it was asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from record_factory import dataset, failed, make, timed, trained_on

from adbench.config.options import RunOptions
from adbench.contracts.registry import DATASETS, DETECTORS

NAMES = {DETECTORS: ("ddpm", "ddim", "broken"), DATASETS: ("other", "phantom", "toy")}


@dataclass(frozen=True)
class PartForecast:
    key: str = "unet-1"
    kind: str = "unet"
    status: str = "train"
    steps: int = 100
    parameters: int | None = 4_600_000
    flops: int | None = None
    estimated_s: float | None = 60.0
    memory_bytes: int | None = 2**20
    disk_bytes: int | None = 2**24


@dataclass(frozen=True)
class CellForecast:
    method: str
    dataset: str = "toy"
    config_hash: str = "abc"
    seed: int = 0
    record: Path = Path("records/x.json")
    record_exists: bool = False
    parts: list[PartForecast] = field(default_factory=lambda: [PartForecast()])
    passes: dict[str, int] = field(default_factory=lambda: {"unet": 50})
    devices: list[str] = field(default_factory=lambda: ["cpu"])
    flops_per_100: int | None = 10**12
    estimated_score_s: float | None = 20.0
    estimated_memory_bytes: int | None = 2**30
    estimated_disk_bytes: int | None = 2**20


class FakeHarness(ModuleType):
    """Stands in for adbench.protocol.harness and remembers how it was called."""

    def __init__(self) -> None:
        super().__init__("adbench.protocol.harness")
        self.calls: list[tuple[list[str], list[str] | str, RunOptions]] = []
        self.raises: BaseException | None = None

    def run(self, methods: list[str], datasets: Any, options: RunOptions, reporter: Any) -> list[Any]:
        self.calls.append((list(methods), datasets, options))
        reporter.message("working")
        reporter.progress("score", 1, 1)
        print("a plugin prints")
        if self.raises:
            raise self.raises
        names = [datasets] if isinstance(datasets, str) else datasets
        return [self._record(name, data, options) for data in names for name in methods]

    def _record(self, method: str, data: str, options: RunOptions) -> Any:
        elsewhere = trained_on(options.train_on) if options.train_on else None
        given = {"dataset": dataset(name="toy" if data == "phantom" else data, train_on=elsewhere)}
        return failed("broken", "it\nbroke", **given) if method == "broken" else make(method, **given)

    def times_here(self, records: list[Any], options: RunOptions) -> list[Any]:
        return [timed(record, 2.0) for record in records if record.status == "ok"]

    def forecast(self, methods: list[str], datasets: Any, options: RunOptions, reporter: Any) -> list[CellForecast]:
        self.calls.append((list(methods), datasets, options))
        return [CellForecast(name) for name in methods]
