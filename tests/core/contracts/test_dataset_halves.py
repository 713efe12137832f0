"""The shipped contract of datasets: sets that have a part alone, findings, and the data folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from adbench.contracts.dataset import Dataset, DatasetConfig, DatasetInfo, Findings, Problem
from adbench.contracts.splits import Split, Splits
from adbench.errors import DataError
from adbench.testing import DatasetContract, toy_split

LACKS = "test_a_set_that_lacks_a_part_says_so"
HALVES = "test_halves_for_train_on_are_healthy_images_and_a_test_split_with_lesions"
FINDINGS = "test_inspecting_gives_facts_as_text_and_problems_with_their_files"
FOLDER = "test_nothing_in_the_data_folder_is_changed"


class TestAlone(Dataset[DatasetConfig]):
    """Toy heads with lesions, to be tested on."""

    __test__ = False
    info = DatasetInfo("toy heads", "CC0", "none", "synthetic", "none needed", "1")

    def load(self) -> Splits:
        raise DataError("There are no healthy images: name another set with --train-on.")

    def load_test(self) -> Split:
        return toy_split(4, 32, 3, lesions=True)

    def inspect(self) -> Findings:
        return Findings({"images": "4"}, [Problem("a.nii", "no mask", skipped=True)])


class HealthyAlone(TestAlone):
    """Toy heads to train on."""

    def load(self) -> Splits:
        raise DataError("There are no lesions: name this set with --train-on.")

    def load_healthy(self) -> tuple[Split, Split]:
        return toy_split(6, 32, 1), toy_split(4, 32, 2)

    def load_test(self) -> Split:
        return self.load().test


class Whole(TestAlone):
    """Both."""

    def load(self) -> Splits:
        return Splits(toy_split(6, 32, 1), toy_split(4, 32, 2), toy_split(4, 32, 3, lesions=True))


class Silent(TestAlone):
    def load(self) -> Splits:
        raise DataError("There are none.")


class SickHalf(Whole):
    def load_healthy(self):
        return toy_split(6, 32, 1, lesions=True), toy_split(4, 32, 2)


class CleanHalf(Whole):
    def load_test(self):
        return replace(toy_split(4, 32, 3), lesions=None)


class Numbers(Whole):
    def inspect(self):
        return Findings({"images": 4})


class Writes(Whole):
    def load(self):
        (self.data_root / "cache.npy").write_text("mine")
        return super().load()


def contract(cls: type[Dataset], *parts: str, root: Path | None = None) -> DatasetContract:
    fields = {"dataset_class": cls, "data_root": root, **({"parts": parts} if parts else {})}
    return type("Contract", (DatasetContract,), fields)()


def _rules() -> list[str]:
    return [name for name in vars(DatasetContract) if name.startswith("test_")]


@pytest.mark.parametrize("name", _rules())
@pytest.mark.parametrize(("cls", "parts"), [(TestAlone, ["test"]), (HealthyAlone, ["healthy"]), (Whole, [])])
def test_what_keeps_the_rules_passes(cls, parts, name, tmp_path):
    if parts and name == HALVES:
        pytest.skip("the contract skips it")
    getattr(contract(cls, *parts, root=tmp_path), name)()


@pytest.mark.parametrize(
    ("cls", "parts", "test"),
    [
        (Silent, ["test"], LACKS),
        (Whole, ["test"], LACKS),
        (SickHalf, [], HALVES),
        (CleanHalf, [], HALVES),
        (Numbers, [], FINDINGS),
        (Writes, [], FOLDER),
    ],
)
def test_what_breaks_a_rule_fails_the_test_of_that_rule(cls, parts, test, tmp_path):
    with pytest.raises(AssertionError):
        getattr(contract(cls, *parts, root=tmp_path), test)()
