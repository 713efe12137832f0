"""From a record back to the cell that it is the result of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from adbench.config.options import Reporter, RunOptions
from adbench.contracts.registry import load_detector
from adbench.devices.device import pick_device
from adbench.devices.precision import decide
from adbench.errors import RecordError, first_fault
from adbench.protocol import data
from adbench.protocol.cell import Cell
from adbench.protocol.data import Data
from adbench.protocol.protocol import PROTOCOL_PRESETS, MeasurementProtocol
from adbench.results.record import DatasetRecord, Record, TrainedOnRecord
from adbench.storage.spec import canonical_hash


@dataclass
class Rebuilder:
    """Makes cells of records, for the device, folders and precision of `options`; data are loaded once."""

    options: RunOptions
    reporter: Reporter
    _loaded: dict[str, Data] = field(default_factory=dict)

    def cell(self, record: Record) -> Cell:
        """Return the cell of a record.

        Raises AdbenchError where its method or data are not here, and RecordError where code or images have changed
        since, so that the cell would be another.
        """
        plugin = load_detector(record.detector.name)
        device = pick_device(self.options.device)
        precision = decide(device, self.options.precision, self.options.cache, self.reporter.message)
        options = RunOptions(
            preset=record.detector.preset,
            seed=record.seed,
            out=self.options.out,
            cache=self.options.cache,
            data_root=self.options.data_root,
            tuning=record.tuning,
        )
        config = _validated(plugin.cls.Config, record.detector.config, record)
        rules = {**PROTOCOL_PRESETS.get(record.detector.preset, {}), **record.protocol}  # how to time is in no record
        protocol = _validated(MeasurementProtocol, rules, record)
        cell = Cell(plugin, config, self._data(record, options), protocol, options, device, precision)
        if cell.config_hash != record.config_hash:
            was, now = record.dataset.fingerprint, cell.data.splits.fingerprint
            changed = (
                f"the fingerprint of its images is {was}, here {now}; processors may prepare scans otherwise, and "
                "OPENBLAS_CORETYPE chooses (docs/results.md)"
                if was != now
                else f"its config hash would now be {cell.config_hash}"
            )
            raise RecordError(
                f"{record.path} must be of this code and these images, but was made with others: {changed}. "
                "Run the cell again with 'adbench run'."
            )
        return cell

    def _data(self, record: Record, options: RunOptions) -> Data:
        of = record.dataset
        named = {"name", "registered", "config"}
        key = canonical_hash([part and part.model_dump(include=named) for part in (of, of.train_on)])
        if key not in self._loaded:
            parts = [part for part in (of, of.train_on) if part is not None]
            sources = [self._source(part, options) for part in parts]
            train_on = of.train_on.plugin if of.train_on else None
            self._loaded[key] = data.load(sources, [of.plugin], train_on)[0]
        return self._loaded[key]

    def _source(self, part: DatasetRecord | TrainedOnRecord, options: RunOptions) -> data.ConfiguredDataset:
        (plugin,) = data.plugins([part.plugin], None)
        return data.make(plugin, part.config, options, self.reporter)


def _validated(model: Any, values: Mapping[str, Any], record: Record) -> Any:
    """The config with the values of a record. Raises RecordError where it has other fields by now."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise RecordError(
            f"{record.path} was made by other code: its settings are not valid now ({first_fault(error)}). "
            "Run the cell again with 'adbench run'."
        ) from error
