"""What a cell is: the hash of everything that decides the numbers of a record, but for seed and device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from adbench.contracts.dataset import SEEN_IN_IMAGES
from adbench.contracts.registry import load_dataset, load_detector
from adbench.errors import PluginError, UnknownPluginError
from adbench.protocol.protocol import MeasurementProtocol
from adbench.results.record import DatasetRecord, Record, TrainedOnRecord
from adbench.storage.spec import canonical_hash, changed_fields


@dataclass(frozen=True)
class DatasetIdentity:
    """A dataset as part of an identity."""

    name: str
    version: str
    config: BaseModel
    fingerprint: str


def config_hash(
    method: str,
    code: str,
    config: BaseModel,
    dataset: DatasetIdentity,
    protocol: MeasurementProtocol,
    parts: Mapping[str, int],
    train_on: DatasetIdentity | None = None,
    tuning: Mapping[str, Any] | None = None,
) -> str:
    """12 hex digits of everything that decides the numbers of a record, but for seed and device.

    Configs are taken by the fields that differ from their defaults: a new field leaves old records what they are, and
    a changed default needs a new version of the method, the dataset or the protocol.
    """
    identity: dict[str, Any] = {
        "method": method,
        "code": code,
        "config": changed_fields(config),
        "dataset": dataset.name,
        "dataset_version": dataset.version,
        "dataset_config": changed_fields(dataset.config, SEEN_IN_IMAGES),
        "fingerprint": dataset.fingerprint,
        "protocol": protocol.identity(),
    }
    if parts:
        identity["parts"] = dict(parts)
    if train_on:
        of = train_on
        identity["train_on"] = [of.name, of.version, changed_fields(of.config, SEEN_IN_IMAGES), of.fingerprint]
    if tuning:  # an untuned run may have the same values
        identity["tuning"] = [tuning["identity"], tuning["trial"]]
    return canonical_hash(identity)[:12]


def hash_of(record: Record) -> str | None:
    """The config hash that the content of a record gives; None where its method or data are not installed here.

    The settings are read by the classes that are: of another version of them they may no longer be valid, which is
    None too.
    """
    of, trained_on = record.detector, record.dataset.train_on
    try:
        return config_hash(
            of.name,
            of.code_version,
            load_detector(of.name).cls.Config.model_validate(of.config),
            _dataset(record.dataset),
            MeasurementProtocol.model_validate(record.protocol),
            of.part_versions,
            _dataset(trained_on) if trained_on else None,
            record.tuning,
        )
    except (UnknownPluginError, PluginError, ValidationError, KeyError):
        return None


def _dataset(of: DatasetRecord | TrainedOnRecord) -> DatasetIdentity:
    config = load_dataset(of.found_as).cls.Config.model_validate(of.config)
    return DatasetIdentity(of.name, of.version, config, of.fingerprint)
