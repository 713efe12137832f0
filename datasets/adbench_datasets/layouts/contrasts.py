"""Sets that hold several MRI contrasts of an examination: `data.modality` says which one is read.

A detector is trained and tested on one contrast: the card of the set says which, and a run refuses two.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Generic, TypeVar

from adbench.contracts.dataset import DataRuntime
from adbench_datasets.layouts.scan_config import ScanConfig
from adbench_datasets.layouts.scans import ScanDataset


class ContrastConfig(ScanConfig):
    """A subclass names the contrasts of its set as a Literal, with the default."""

    modality: Any


ContrastT = TypeVar("ContrastT", bound=ContrastConfig)


class ContrastDataset(ScanDataset[ContrastT], Generic[ContrastT]):
    """The card says the contrast that is read; published results are those of the default one alone."""

    modality = "MRI"

    def __init__(self, config: ContrastT, data_root: Path | None = None, runtime: DataRuntime | None = None) -> None:
        super().__init__(config, data_root, runtime)
        if config.modality != type(config).model_fields["modality"].default:
            self.info = dataclasses.replace(  # type: ignore[misc]  # of this one, not of the class
                self.info, modality=f"MRI {config.modality}", reported=()
            )
