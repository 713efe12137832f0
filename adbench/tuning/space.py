"""What a user chooses of a study, and the fields that it searches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adbench.config.options import AskedPrecision, default_cache
from adbench.contracts.detector import Detector
from adbench.contracts.search import Choice, Domain
from adbench.errors import TuningError
from adbench.tuning.synthetic import LesionGenerator


@dataclass(frozen=True)
class TuneOptions:
    """What a user chooses of a study; picklable, for processes of their own."""

    method: str
    dataset: str
    study: str | None = None
    storage: str | None = None
    trials: int = 100
    timeout_s: float | None = None
    jobs: int = 1
    tier: str = "inference"
    objectives: tuple[str, ...] = ("dice",)
    images: int = 100
    """Lesions drawn, each on an image of its own as far as there are."""
    preset: str = "small"
    settings: Sequence[str] = ()
    seed: int = 0
    device: str = "auto"
    precision: AskedPrecision = "auto"
    cache: Path = field(default_factory=default_cache)
    data_root: Path | None = None
    generator: LesionGenerator = field(default_factory=LesionGenerator)

    @property
    def name(self) -> str:
        return self.study or f"{self.method}-{self.dataset}-{self.preset}-{self.tier}"


def searched(cls: type[Detector[Any]], tier: str, given: Mapping[str, Any], method: str) -> dict[str, Domain]:
    """Return field -> domain; a field that `--set` gives is not searched. Raises TuningError where none is left."""
    both = {**cls.search_space.inference, **cls.search_space.training}
    names = cls.search_space.inference if tier == "inference" else both
    fixed = {name for name in names if any(name == key or name.startswith(f"{key}.") for key in given)}
    space = {name: domain for name, domain in both.items() if name in names and name not in fixed}
    if space:
        return space
    if not both:
        raise TuningError(f"{method} has no search space: there is nothing to tune. Choose another method.")
    if names:
        raise TuningError(f"Tuning needs a field to search, but --set fixes all of {', '.join(names)}. Leave one out.")
    raise TuningError(f"{method} has no field of the inference tier to search: use --tier training.")


def contains(domain: Domain, value: Any) -> bool:
    """Whether a value could be drawn from a domain."""
    if isinstance(domain, Choice):
        return any(value == choice and type(value) is type(choice) for choice in domain.values)
    distribution: Any = domain.distribution()
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(distribution._contains(value))


def at(config: Any, name: str) -> Any:
    """The value of a dotted field."""
    for part in name.split("."):
        config = getattr(config, part)
    return config
