"""What a cell is: the hash of everything that decides the numbers of a record, but for seed and device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from adbench.contracts.dataset import SEEN_IN_IMAGES
from adbench.contracts.registry import load_dataset, load_detector
from adbench.errors import PluginError, RecordError, UnknownPluginError, first_fault
from adbench.protocol.protocol import MeasurementProtocol
from adbench.results.record import PROTOCOL_VERSION, Record
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
    None too. Raises RecordError where they are not, though the versions are the same.
    """
    of, sets = record.detector, [each for each in (record.dataset, record.dataset.train_on) if each]
    try:
        method, *classes = load_detector(of.name).cls, *(load_dataset(each.plugin).cls for each in sets)
    except (UnknownPluginError, PluginError):
        return None
    try:
        config = method.Config.model_validate(of.config)
        tested, *others = (
            DatasetIdentity(each.name, each.version, cls.Config.model_validate(each.config), each.fingerprint)
            for each, cls in zip(sets, classes, strict=True)
        )
        protocol = MeasurementProtocol.model_validate(record.protocol)
        train_on, parts = next(iter(others), None), of.part_versions
        return config_hash(of.name, of.code_version, config, tested, protocol, parts, train_on, record.tuning)
    except (ValidationError, KeyError) as error:
        said = [of.code_version, *(each.version for each in sets), record.protocol.get("version")]
        if said != [method.info.version, *(cls.info.version for cls in classes), PROTOCOL_VERSION]:
            return None
        what = first_fault(error) if isinstance(error, ValidationError) else f"{error} is missing"
        raise RecordError(f"has settings that the code of the same versions does not take: {what}") from error
