"""What of a detector's config is worth searching, declared beside the config and without importing Optuna.

Two tiers: `inference` fields change scoring alone and reuse the trained parts; `training` fields train other parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


@dataclass(frozen=True)
class Real:
    """A number in [low, high], evenly or (`log`) by its logarithm."""

    low: float
    high: float
    log: bool = False

    def distribution(self) -> BaseDistribution:
        from optuna.distributions import FloatDistribution

        return FloatDistribution(self.low, self.high, log=self.log)


@dataclass(frozen=True)
class Integer:
    """A whole number in [low, high], in steps of `step` or (`log`) by its logarithm."""

    low: int
    high: int
    step: int = 1
    log: bool = False

    def distribution(self) -> BaseDistribution:
        from optuna.distributions import IntDistribution

        return IntDistribution(self.low, self.high, log=self.log, step=self.step)


@dataclass(frozen=True)
class Choice:
    """One of a few values, in no order."""

    values: tuple[bool | int | float | str | None, ...]

    def distribution(self) -> BaseDistribution:
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.values)


Domain = Real | Integer | Choice


@dataclass(frozen=True)
class SearchSpace:
    """Field of the config (dotted where nested) -> its domain, in two tiers."""

    inference: Mapping[str, Domain] = field(default_factory=dict)
    training: Mapping[str, Domain] = field(default_factory=dict)
