"""Scans are judged on their own grid: what no image shows is missed, and thresholds go the same way."""

from __future__ import annotations

import numpy as np
import pytest
import toys

from adbench.contracts.scans import ScanView, Truth
from adbench.protocol import harness
from adbench.protocol.protocol import MeasurementProtocol
from adbench.protocol.scoring import Batch, ScoreMaps
from adbench.protocol.volumes import UNSEEN, healthy_voxels, judge, judged_voxels
from adbench.results.record import read_records
from adbench.results.subjects import read_subjects, subjects_path
from adbench.storage.spec import PartSpec

SPEC = PartSpec("scores", 1, {}, "none", 0)
IMAGE = MeasurementProtocol()


class Toy(ScanView):
    """Four slices of 4 x 4 voxels, of which the last is not among the images; nothing is resampled."""

    def __init__(self, subject: str, images, lesion, ignore=None, brain=None) -> None:
        super().__init__(subject, f"{subject}.nii", np.array(images))
        self._truth = Truth(lesion, ignore, brain, np.diag([1.0, 1.0, 2.0, 1.0]))

    def truth(self, with_brain: bool = False) -> Truth:
        return self._truth

    def back(self, maps):
        volume = np.full((4, 4, 4), -np.inf, np.float32)
        for k, scores in enumerate(maps):
            volume[..., k] = scores[0]
        return volume

    def fractions(self, lesion):
        return np.moveaxis(lesion[..., : len(self.images)].astype(np.float32), 2, 0)[:, None]


def maps(*volumes) -> ScoreMaps:
    """Slices of volumes (n, 4, 4) in batches of two, whatever scan they are of."""
    whole = np.concatenate(volumes)[:, None].astype(np.float32)
    places = [slice(i, min(i + 2, len(whole))) for i in range(0, len(whole), 2)]
    return ScoreMaps([Batch(place, SPEC, lambda place=place: whole[place]) for place in places])


def lesion(*at) -> np.ndarray:
    mask = np.zeros((4, 4, 4), bool)
    for where in at:
        mask[where] = True
    return mask


def test_lesions_in_slices_that_were_not_scored_count_as_missed():
    scores = np.zeros((3, 4, 4))
    scores[1, 1, 1] = 0.9
    scan = Toy("a", range(3), lesion((1, 1, 1), (3, 3, 3)))
    (row,) = judge([scan], maps(scores), {"t": 0.5}, IMAGE).to_dict("records")
    assert (row["subject"], row["scans"], row["lesion_voxels"], row["unseen_voxels"]) == ("a", 1, 2, 1)
    assert (row["t:lesions"], row["t:lesion_recall"], row["t:lesion_precision"]) == (2, 0.5, 1)
    assert row["t:dice"] == row["perfect_dice"] == pytest.approx(2 / 3), "no map could do better"


def test_a_voxel_is_flagged_where_its_score_is_greater_and_every_named_threshold_has_its_numbers():
    scores = np.zeros((3, 4, 4))
    scores[0, 0, 0], scores[2, 3, 3] = 0.5, 0.75
    scan = Toy("a", range(3), lesion((0, 0, 0)))
    (row,) = judge([scan], maps(scores), {"low": 0.25, "high": 0.5}, IMAGE).to_dict("records")
    assert (row["low:dice"], row["high:dice"]) == (pytest.approx(2 / 3), 0)
    assert (row["low:false_components"], row["high:lesion_recall"]) == (1, 0)


def test_what_is_ignored_and_what_lies_outside_the_brain_is_no_false_component_but_a_lesion_there_is_missed():
    scores = np.ones((3, 4, 4))
    ignore, brain = lesion((0, 0, 0)), np.zeros((4, 4, 4), bool)
    brain[:2] = True
    scan = Toy("a", range(3), lesion((1, 1, 1), (3, 3, 0)), ignore, brain)
    (row,) = judge([scan], maps(scores), {"t": 0.5}, IMAGE.model_copy(update={"region": "brain"})).to_dict("records")
    assert row["unseen_voxels"] == 1
    assert row["t:lesion_recall"] == 0.5
    flagged = 2 * 4 * 3 - 1
    assert row["t:dice"] == pytest.approx(2 / (flagged + 2))


def test_slices_of_scans_that_are_scattered_over_batches_find_their_scan():
    first, second = np.zeros((2, 4, 4)), np.zeros((2, 4, 4))
    first[0, 0, 0] = second[1, 2, 2] = 1
    interleaved = np.stack([first[0], second[0], first[1], second[1]])
    scans = [Toy("a", [0, 2], lesion((0, 0, 0))), Toy("b", [1, 3], lesion((2, 2, 1)))]
    found = judge(scans, maps(interleaved), {"t": 0.5}, IMAGE)
    assert found["t:dice"].tolist() == [1, 1]


def test_several_scans_of_a_subject_are_one_row_and_what_is_not_defined_is_counted():
    scores = np.zeros((6, 4, 4))
    scores[0, 0, 0] = 1
    scans = [
        Toy("b", [0, 1], lesion((0, 0, 0))),
        Toy("b", [2, 3], lesion((1, 1, 0))),
        Toy("a", [4, 5], lesion()),
    ]
    found = judge(scans, maps(scores), {"t": 0.5}, IMAGE)
    assert found["subject"].tolist() == ["a", "b"]
    assert found["scans"].tolist() == [1, 2]
    assert found["t:dice"].isna().tolist() == [True, False]
    assert found["t:dice"][1] == 0.5


def test_pooled_voxels_are_those_seen_and_all_lesions_and_healthy_ones_those_seen_alone():
    scores = np.full((3, 4, 4), 0.25)
    drawn, ignore = lesion((1, 1, 1), (3, 3, 3)), lesion((0, 0, 0))
    scan = Toy("a", range(3), drawn, ignore)
    ((_, values, truth, counts),) = judged_voxels([scan], maps(scores), IMAGE)
    assert counts.sum() == 4 * 4 * 3 - 1 + 1
    assert (values[3, 3, 3], values[1, 1, 1]) == (UNSEEN, 0.25)
    assert truth is drawn
    ((_, _, _, healthy),) = healthy_voxels([scan], maps(scores), IMAGE)
    assert healthy.sum() == 4 * 4 * 3 - 2, "neither the ignored voxel nor the lesion"


class Stack(ScanView):
    """All test images of the toy as one scan, stacked."""

    def __init__(self, split) -> None:
        super().__init__(split.subjects[0], "toy.nii", np.arange(len(split)))
        self._split = split

    def truth(self, with_brain: bool = False) -> Truth:
        masks = self._split.lesions
        drawn = np.zeros(self._split.images.shape, bool) if masks is None else masks
        return Truth(np.moveaxis(drawn[:, 0], 0, 2), None, None, np.eye(4))

    def back(self, maps):
        return np.moveaxis(maps[:, 0], 0, 2).copy()

    def fractions(self, lesion):
        return np.moveaxis(lesion, 2, 0)[:, None].astype(np.float32)


def test_a_run_on_a_set_of_scans_keeps_its_subjects_and_volumes_and_one_on_pictures_its_subjects(tmp_path, monkeypatch):
    toys.install(tmp_path / "site", monkeypatch)
    options = toys.options(tmp_path)
    (plain,) = harness.run(["toy-brightness"], "toy", options, toys.Diary())
    rows = read_subjects(options.out / subjects_path(plain.path))
    assert plain.measurement.scans is None
    assert rows["subject"].tolist() == [f"test-{i}" for i in range(6)]
    assert rows["lesion_pixels"].tolist() == [0, toys.LESION_PX] * 3
    assert rows["auprc"].mean() == pytest.approx(plain.metrics["subject_auprc"].value)
    assert rows["1pct:pixel_dice"].mean() == pytest.approx(plain.metrics["subject_dice_1pct"].value)
    monkeypatch.setattr(toys.ToyData, "scans", lambda self, split: [Stack(split)])
    (record,) = harness.run(["toy-brightness"], "toy", toys.options(tmp_path, force=True), toys.Diary())
    assert read_records(options.out) == [record]
    scans = record.measurement.scans
    assert (scans.subjects, scans.scans, scans.unseen_lesion_fraction) == (1, 1, 0)
    assert (scans.best_dice, scans.perfect_dice.value) == (1, 1), "the lesion is the brightest"
    assert [at.point for at in scans.volumes] == ["5pct", "1pct", "01pct"]
    five, one, tenth = scans.volumes
    assert tenth.missing == "needs 20 healthy subjects, there are 1"
    assert tenth.means == tenth.undefined == {}
    assert five.means["lesion_recall"].value == one.means["lesion_recall"].value == 1
    rows = read_subjects(options.out / subjects_path(record.path))
    assert rows.loc[rows["subject"] == "test-0", "1pct:dice"].tolist() == pytest.approx([one.means["dice"].value])
    assert not [name for name in rows if name.startswith("01pct:lesion")]
    assert scans.thresholds_on_grid
