"""Which pixels and images count, which threshold is transferred, and how scoring goes on after a cut."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch
import toys
from hypothesis import given
from hypothesis import strategies as st

from adbench.contracts.splits import Split
from adbench.errors import ArtifactError, ConfigError, DataError, ScoreError
from adbench.metrics.catalogue import METRICS
from adbench.metrics.estimate import Estimate
from adbench.protocol.cell import Cell
from adbench.protocol.halves import evenly, halved
from adbench.protocol.measure import Measured, measure, prevalence
from adbench.protocol.pictured import own, shown
from adbench.protocol.scoring import Scorer
from adbench.storage.saved import Saved
from adbench.storage.store import ArtifactStore

H = W = 8


@pytest.fixture(autouse=True)
def _plugins(tmp_path, monkeypatch):
    toys.install(tmp_path / "site", monkeypatch)


def scorer(tmp_path, method: str = "toy-brightness", *given: str, **splits: Split) -> Scorer:
    """A fitted method on the toy data, or on other splits."""
    cell = toys.cell(tmp_path, method, *given)
    if splits:
        cell = replace(cell, data=replace(cell.data, splits=replace(cell.data.splits, **splits)))
    store = ArtifactStore(tmp_path / "store")
    diary = toys.Diary()
    detector = cell.detector(store, diary)
    detector.fit(*cell.data.healthy())
    return Scorer(cell, detector, store, diary)


def measured(work: Scorer) -> Measured:
    return measure(work, work.cell.data.reference, work.cell.data.splits.test, work.cell.protocol)


def metrics(work: Scorer) -> dict[str, Estimate]:
    return measured(work).metrics


def maps(work: Scorer, split: Split) -> np.ndarray:
    """All score maps of a split, (N, 1, H, W)."""
    return np.stack(list(work.maps(split, "test")))


def checkerboard() -> tuple[np.ndarray, np.ndarray]:
    """Four dark images of which the lower half is bright; the lesion is its left quarter."""
    images = np.full((4, 1, H, W), 0.25, np.float32)
    images[:, :, H // 2 :] = 0.75
    images += np.arange(4, dtype=np.float32)[:, None, None, None] / 100  # no two alike
    lesions = np.zeros(images.shape, bool)
    lesions[:, :, H // 2 :, : W // 2] = True
    return images, lesions


def test_all_pixels_count_by_default(tmp_path):
    images, lesions = checkerboard()
    work = scorer(tmp_path, test=toys.healthy(images, "test", lesions=lesions, brains=lesions))
    found = metrics(work)
    assert prevalence(work.cell.data.splits.test, work.cell.protocol) == 0.25
    assert found["best_dice"].value == pytest.approx(2 / 3), "half of the bright pixels are lesion"
    assert found["auprc"].value == pytest.approx(0.5, abs=0.05)


def test_within_the_brain_the_other_pixels_are_left_out(tmp_path):
    images, lesions = checkerboard()
    brains = np.ones(images.shape, bool)
    brains[:, :, H // 2 :, W // 2 :] = False  # the bright pixels that are no lesion
    splits = {
        "test": toys.healthy(images, "test", lesions=lesions, brains=brains),
        "validation": toys.healthy(images + np.float32(0.001), "validation", brains=brains),
    }
    work = scorer(tmp_path, "toy-brightness", "protocol.region=brain", **splits)
    found = metrics(work)
    assert prevalence(work.cell.data.splits.test, work.cell.protocol) == pytest.approx(1 / 3)
    assert found["best_dice"].value == 1
    assert found["auprc"].value == found["auroc"].value == 1


@pytest.mark.parametrize("without", ["validation", "test"])
def test_a_brain_region_without_brains_is_refused(tmp_path, without, monkeypatch):
    load = toys.ToyData.load

    def bare(self):
        splits = load(self)
        return replace(splits, **{without: replace(getattr(splits, without), brains=None)})

    monkeypatch.setattr(toys.ToyData, "load", bare)
    with pytest.raises(ConfigError, match="region=brain needs brain masks, but toy has none: use region=image"):
        toys.cell(tmp_path, "toy-brightness", "protocol.region=brain")


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_ignored_pixels_leave_every_metric(tmp_path, value):
    images, lesions = checkerboard()
    ignores = np.zeros(images.shape, bool)
    ignores[:, :, :2, :3] = True
    ignores[:, :, -2:, :3] = True  # healthy and lesion pixels
    kept = toys.healthy(images, "test", lesions=lesions, ignores=ignores)
    other = images.copy()
    other[ignores] = value
    changed = replace(kept, images=other)
    first, second = (scorer(tmp_path / name, test=part) for name, part in (("a", kept), ("b", changed)))
    ours, theirs = measured(first), measured(second)
    differing = {key for key in METRICS if ours.metrics[key] != theirs.metrics[key]}
    assert differing <= {"image_auroc", "image_auprc"}, "the method's own score sees the whole image"
    assert ours.measurement == theirs.measurement
    assert prevalence(kept, first.cell.protocol) == pytest.approx((16 - 6) / (64 - 12))


def test_images_for_image_level_only_leave_pixel_metrics_but_count_for_image_level_ones(tmp_path):
    images, lesions = checkerboard()
    lesions[2:] = False
    only = np.array([False, False, True, True])
    split = toys.healthy(images, "test", lesions=lesions, image_level_only=only)
    work = scorer(tmp_path, test=split)
    found = metrics(work)
    assert prevalence(split, work.cell.protocol) == 0.25
    assert found["best_dice"].value == pytest.approx(2 / 3)
    assert found["image_auroc"].value == 0, "the clean ones are brighter"


def test_an_image_whose_lesion_does_not_count_leaves_image_level_metrics(tmp_path):
    images, lesions = checkerboard()
    lesions[0] = False
    ignores = np.zeros(images.shape, bool)
    ignores[1] = lesions[1]
    split = toys.healthy(images, "test", lesions=lesions, ignores=ignores)
    found = measured(scorer(tmp_path, test=split))
    assert found.measurement.images_left_out == 1
    assert found.metrics["image_auroc"].value == 1, "one clean image, and two with lesions that count, all brighter"


def test_without_a_clean_image_image_level_metrics_are_undefined(tmp_path):
    images, lesions = checkerboard()
    found = metrics(scorer(tmp_path, test=toys.healthy(images, "test", lesions=lesions)))
    assert found["image_auroc"].value is None


def test_the_mean_over_subjects_is_over_those_with_lesions(tmp_path):
    images = np.zeros((4, 1, H, W), np.float32)
    lesions = np.zeros(images.shape, bool)
    lesions[0, 0, :4], images[0, 0, :4] = True, 1  # found
    lesions[1, 0, :4], images[1, 0, :2] = True, 1  # half of it found: Dice 2/3
    images[2] = 0.01  # healthy
    lesions[3, 0, 4:], images[3, 0, 4:] = True, 1  # the second image of the first subject, found
    images[3, 0, 0, 0] = 0.02
    split = replace(toys.healthy(images, "test", lesions=lesions), subjects=["one", "two", "three", "one"])
    validation = toys.healthy(0.5 * np.ones((2, 1, H, W), np.float32), "validation")
    found, measurement, *_ = measured(scorer(tmp_path, test=split, validation=validation))
    assert measurement.best_threshold == 1
    mean = found["subject_dice_5pct"]
    assert mean.value == pytest.approx((1 + 2 / 3) / 2)
    assert mean.low is None, "two subjects with lesions are too few for an interval"


def test_thresholds_come_from_healthy_images_that_the_method_did_not_see(tmp_path):
    data = scorer(tmp_path).cell.data
    seen, reference = data.healthy()[1], data.reference
    assert len(seen) + len(reference) == len(data.splits.validation)
    shown = seen[np.arange(len(seen))].numpy()
    assert not {image.tobytes() for image in shown} & {image.tobytes() for image in reference.images}


@given(subjects=st.lists(st.sampled_from("abcdefghij"), min_size=2, max_size=40))
def test_the_halves_share_no_subject_and_hold_half_of_them(subjects):
    images = np.random.default_rng(0).random((len(subjects), 1, 4, 4), np.float32)
    split = replace(toys.healthy(images, "v"), subjects=subjects)
    if len(set(subjects)) == 1:
        with pytest.raises(DataError, match="Add healthy validation images of another subject"):
            halved(split)
        return
    calibration, reference = (set(half.subjects) for half in halved(split))
    assert calibration | reference == set(subjects)
    assert not calibration & reference
    assert len(calibration) - len(reference) in (0, 1)


@given(subjects=st.lists(st.sampled_from("abc"), min_size=1, max_size=30), most=st.integers(1, 40))
def test_images_are_taken_evenly_over_subjects(subjects, most):
    images = np.random.default_rng(0).random((len(subjects), 1, 4, 4), np.float32)
    taken = evenly(replace(toys.healthy(images, "v"), subjects=subjects), most)
    assert len(taken) == min(most, len(subjects)) == len({image.tobytes() for image in taken.images})
    counts = {name: list(taken.subjects).count(name) for name in subjects}
    cut = {name: n for name, n in counts.items() if n < subjects.count(name)}
    assert all(max(counts.values()) - n <= 1 for n in cut.values()), "none is cut while another has two more"


def test_only_as_many_healthy_images_are_scored_as_the_protocol_says(tmp_path):
    work = scorer(tmp_path, "toy-brightness", "protocol.reference_images=3")
    assert measured(work).measurement.reference_images == 3
    assert len(work.cell.data.reference) > 3


def test_constant_scores_have_a_threshold_that_flags_nothing(tmp_path):
    found = metrics(scorer(tmp_path, "toy-constant"))
    assert found["dice_5pct"].value == 0
    assert found["best_dice"].value == pytest.approx(2 * 48 / (6 * 256 + 48)), "everything or nothing is flagged"


def test_a_median_is_of_the_same_scores_with_edges_replicated(tmp_path):
    plain = scorer(tmp_path)
    test = plain.cell.data.splits.test
    raw = maps(plain, test)
    work = scorer(tmp_path, "toy-brightness", "protocol.postprocess=median", "protocol.median_px=3")
    work.detector.score = None
    padded = np.pad(raw, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    expected = np.median(np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3)), axis=(4, 5))
    np.testing.assert_array_equal(maps(work, test), expected)
    with pytest.raises(ConfigError, match="odd edge, got 4: try 5"):
        toys.cell(tmp_path, "toy-brightness", "protocol.median_px=4")


def test_kept_medians_that_are_not_of_the_images_are_named_and_cut_off_ones_are_made_anew(tmp_path):
    work = scorer(tmp_path, "toy-brightness", "protocol.postprocess=median", "protocol.median_px=3")
    test = work.cell.data.splits.test
    right, batch = maps(work, test), work.maps(test, "test").batches[0]
    saved = Saved(work.store.folder(batch.spec), "part")
    tensors, meta = saved.read()
    (file,) = saved.folder.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-8])
    np.testing.assert_array_equal(maps(work, test), right)
    saved.save({"scores": tensors["scores"][:, :, :-1]}, meta)  # whole, but of smaller images
    with pytest.raises(ArtifactError, match=f"of {batch.spec.key} must fit what it is loaded into, but scores is"):
        maps(work, test)


def test_no_batch_is_scored_twice_and_batches_do_not_change_the_scores(tmp_path):
    whole = scorer(tmp_path / "a")
    halves = scorer(tmp_path / "b", "toy-brightness", "protocol.batch_size=4")
    test = whole.cell.data.splits.test
    assert (maps(whole, test) == maps(halves, test)).all()
    assert [step[1:] for step in halves.reporter.steps] == [(0, 2), (1, 2), (2, 2)]
    halves.detector.score = None
    assert (maps(whole, test) == maps(halves, test)).all(), "from the store"


def test_interrupted_scoring_resumes_at_the_next_batch(tmp_path):
    work = scorer(tmp_path, "toy-brightness", "protocol.batch_size=2")
    test, calls = work.cell.data.splits.test, []

    def score(images):
        calls.append(images)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return images

    work.detector.score = score
    with pytest.raises(KeyboardInterrupt):
        work.maps(test, "test")
    assert (maps(work, test) == test.images).all()
    assert len(calls) == 3 + 1
    assert torch.equal(calls[2], calls[3])


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ({"seed": 1}, False),
        ({"settings": "protocol.batch_size=50"}, False),
        ({"settings": "protocol.reference_images=3"}, True),
        ({"settings": "data.n_validation=7"}, False),
        ({}, True),
    ],
)
def test_kept_batches_belong_to_one_seed_config_batch_size_and_images(tmp_path, change, kept):
    first = scorer(tmp_path)
    first.maps(first.cell.data.splits.test, "test")
    cell: Cell = toys.cell(
        tmp_path, "toy-brightness", *filter(None, [change.get("settings")]), seed=change.get("seed", 0)
    )
    second = Scorer(cell, first.detector, first.store, toys.Diary())
    calls: list[int] = []
    second.detector.score = lambda images: calls.append(len(images)) or images
    second.maps(cell.data.splits.test, "test")
    assert calls == ([] if kept else [6])


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("toy-nan", r"Scores must be finite; 1536 of 1536 are not, the first is (nan|inf)"),
        ("toy-infinite", r"Scores must be finite; 1536 of 1536 are not, the first is inf"),
        ("toy-misshapen", r"must have the shape \(6, 1, 16, 16\); received \(6, 1, 8, 16\)"),
        ("toy-list", "must be a torch tensor, but toy-list returned list"),
    ],
)
def test_bad_score_maps_are_refused_and_not_kept(tmp_path, method, message):
    work = scorer(tmp_path, method)
    with pytest.raises(ScoreError, match=message):
        work.maps(work.cell.data.splits.test, "test")
    assert list((tmp_path / "store").glob("scores-*/*.safetensors")) == []


def test_image_scores_of_the_wrong_shape_are_refused_by_their_own_name(tmp_path):
    work = scorer(tmp_path, "toy-short")
    with pytest.raises(ScoreError, match=r"Image scores must have the shape \(6,\), one an image, got \(6, 1\)"):
        work.images(work.cell.data.splits.test, "test")


def peak_bytes(tmp_path, n: int) -> int:
    """Most bytes in use while measuring `n` images of eight subjects, beyond those in use before."""
    images = (np.random.default_rng(0).integers(0, 64, (n, 1, 64, 64)) / 64).astype(np.float32)
    lesions = images > 0.9
    split = replace(toys.healthy(images, f"test{n}", lesions=lesions), subjects=[f"s{i % 8}" for i in range(n)])
    small = toys.healthy(images[:4] / 2, f"small{n}")
    work = scorer(tmp_path / str(n), "toy-brightness", "protocol.batch_size=8", test=split, validation=small)
    assert work.cell.config_hash  # hashes the data once, as a run does before
    tracemalloc.start()
    try:
        metrics(work)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_while_measuring_does_not_grow_with_the_score_maps(tmp_path):
    peak_bytes(tmp_path, 8)  # what is imported on the way
    few, many = peak_bytes(tmp_path, 32), peak_bytes(tmp_path, 160)
    maps_bytes = (160 - 32) * 64 * 64 * 4
    assert many - few < maps_bytes / 8


def test_the_lesions_of_the_record_are_those_of_the_pixels_measured(tmp_path):
    images, lesions = checkerboard()
    ignores = np.zeros(images.shape, bool)
    ignores[0, 0, H // 2 :] = True  # the lesion of the first image
    found = measured(scorer(tmp_path, test=toys.healthy(images, "test", lesions=lesions, ignores=ignores))).measurement
    assert [(s.lesions, s.pixels) for s in found.strata] == [(0, 0), (0, 0), (0, 0), (3, 3 * 16)]
    assert found.strata[3].lesion_recall["5pct"].value == found.strata[3].sensitivity["5pct"].value == 1
    assert found.strata[3].lesion_recall["5pct"].low is None, "all images agree"


def test_without_a_lesion_that_counts_the_strata_are_empty(tmp_path):
    images, lesions = checkerboard()
    split = toys.healthy(images, "test", lesions=lesions, ignores=lesions.copy())
    found, measurement, *_ = measured(scorer(tmp_path, test=split))
    assert [stratum.lesions for stratum in measurement.strata] == [0, 0, 0, 0]
    assert measurement.best_threshold is None
    assert {key for key, estimate in found.items() if estimate.value is None} >= {
        *("best_dice", "dice_5pct", "subject_dice_5pct", "auprc", "auroc", "subject_auprc", "lesion_recall_5pct"),
    }


def test_a_detector_gets_a_copy_of_the_images(tmp_path):
    work = scorer(tmp_path)
    test = work.cell.data.splits.test
    before = test.images.copy()
    work.detector.score = lambda images: images.fill_(0.5)
    work.maps(test, "test")
    assert (test.images == before).all()


@given(subjects=st.lists(st.sampled_from("abcdefghij"), min_size=1, max_size=40), seed=st.integers(0, 9))
def test_slices_of_the_picture_have_lesions_and_are_spread_over_subjects(subjects, seed):
    anomalous = np.random.default_rng(seed).random(len(subjects)) > 0.5
    places = list(shown(subjects, anomalous))
    assert places == sorted(set(places))
    assert all(anomalous[i] for i in places)
    assert len(places) == min(6, anomalous.sum()) or len({subjects[i] for i in places}) == 6
    ill = {subject for subject, has_lesion in zip(subjects, anomalous, strict=True) if has_lesion}
    assert len({subjects[i] for i in places}) == min(6, len(ill))


@given(
    auprc=st.dictionaries(st.sampled_from("abcdefghij"), st.floats(0, 1), min_size=3, max_size=10),
    seed=st.integers(0, 9),
)
def test_own_slices_are_of_the_best_median_and_worst_subject_where_their_lesion_is_largest(auprc, seed):
    rng = np.random.default_rng(seed)
    subjects = sorted([*auprc, *rng.choice(list(auprc), 20), "without"])
    lesion_px = np.array([rng.integers(1, 100) if name in auprc else 0 for name in subjects])
    best, median, worst = own(subjects, lesion_px, auprc)
    for place in (best, median, worst):
        assert lesion_px[place] == max(lesion_px[[name == subjects[place] for name in subjects]])
    values = sorted(auprc.values())
    assert auprc[subjects[best]] == values[-1]
    assert auprc[subjects[worst]] == values[0]
    assert auprc[subjects[median]] == values[len(values) // 2]


def test_two_subjects_have_no_own_slices():
    assert own(["a", "b"], np.array([3, 4]), {"a": 0.5, "b": 0.2}) == []


def test_the_picture_holds_the_scores_of_its_slices(tmp_path):
    images, lesions = checkerboard()
    made = measured(scorer(tmp_path, "toy-brightness", test=toys.healthy(images, "test", lesions=lesions))).picture
    assert list(made.marks) == ["best", "median", "worst"]
    shown = [i for i in range(len(images)) if lesions[i].any()][: len(made.shared.subjects)]
    ill = shown + [list(toys.healthy(images, "test").subjects).index(name) for name in made.subjects[-3:]]
    np.testing.assert_array_equal(made.inputs, np.rint(images[ill, 0] * 255))
    np.testing.assert_array_equal(made.lesions == 255, lesions[ill, 0])
    back = made.lowest + made.scores / 255 * (made.highest - made.lowest)
    np.testing.assert_allclose(back, images[ill, 0], atol=1 / 255)


def test_without_a_lesion_that_counts_there_is_no_picture(tmp_path):
    images, lesions = checkerboard()
    split = toys.healthy(images, "test", lesions=lesions, ignores=np.ones(images.shape, bool))
    assert measured(scorer(tmp_path, test=split)).picture is None
