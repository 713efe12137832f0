"""How a network is trained: the fields that the training loop reads."""

from __future__ import annotations

from pydantic import Field

from adbench.contracts.detector import DetectorConfig


class TrainingConfig(DetectorConfig):
    """Base of configs of a detector that trains one network; the loop reads these fields from any config by name."""

    steps: int = Field(60_000, ge=1, description="optimiser steps")
    batch_size: int = Field(64, ge=1)
    learning_rate: float = Field(1e-4, gt=0)
    final_learning_rate: float = Field(0.1, ge=0, le=1, description="fraction kept at the end of a half cosine")
    weight_decay: float = Field(0.0, ge=0)
    ema_decay: float = Field(0.999, ge=0, lt=1, description="decay of the weights' moving average; 0 for none")
