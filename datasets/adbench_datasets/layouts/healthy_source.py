"""Base of sets without any lesion: they give healthy images for tests on other sets, and cannot be tested on."""

from __future__ import annotations

from typing import Generic, NoReturn, TypeVar

from adbench.errors import DataError
from adbench_datasets.layouts.scan_config import ScanConfig
from adbench_datasets.layouts.scans import ScanDataset

ConfigT = TypeVar("ConfigT", bound=ScanConfig)


class HealthySource(ScanDataset[ConfigT], Generic[ConfigT]):
    """`load_healthy` works; `load` and `load_test` say why they cannot."""

    last_trained = "test"

    def load(self) -> NoReturn:
        """Raises DataError: there is nothing to test on."""
        raise DataError(
            f"{self._name} has no lesions to test on, only healthy images: name it with --train-on, and a set "
            "with lesions with --dataset."
        )

    def _check_run(self) -> None:
        self.load_healthy()

    def load_test(self) -> NoReturn:
        """Raises DataError: there is nothing to test on."""
        self.load()
