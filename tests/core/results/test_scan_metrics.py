"""What scans are judged by reaches the frame, the page and its glossary; sets of pictures have none of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from record_factory import make, measurement, render

from adbench.metrics.points import POINTS
from adbench.metrics.volumes import SHOWN, VolumeScores
from adbench.results.frame import frame, to_csv
from adbench.results.scan_metrics import FIELDS, SCAN_METRICS

POINT = POINTS[0].key


def estimate(value: float | None) -> dict[str, float | None]:
    return {"value": value, "low": None if value is None else value / 2, "high": value}


def scans(**means: float) -> dict:
    judged = {key: estimate(value) for key, value in means.items()}
    return {
        "subjects": 5,
        "scans": 6,
        "best_dice": 0.41,
        "auprc": 0.32,
        "auroc": 0.93,
        "perfect_dice": estimate(0.84),
        "unseen_lesion_fraction": 0.1,
        "thresholds_on_grid": True,
        "volumes": [
            {"point": POINT, "threshold": 1.0, "missing": None, "undefined": {}, "means": judged},
        ],
    }  # fmt: skip


RECORD = make(measurement=measurement(scans=scans(dice=0.5, hd95_mm=12.5, lesion_f1=0.25)))


def test_every_number_that_scans_are_judged_by_says_how_it_is_shown():
    assert list(SHOWN) == list(VolumeScores.model_fields)
    assert set(SHOWN) - set(FIELDS) == {"lesions", "components"}


def test_the_frame_and_the_csv_file_hold_them():
    row = frame([RECORD]).iloc[0]
    assert row["scan_best_dice"] == 0.41
    assert (row[f"scan_dice_{POINT}"], row[f"scan_dice_{POINT}_low"]) == (0.5, 0.25)
    assert row[f"scan_hd95_mm_{POINT}"] == 12.5
    assert frame([make()])[list(SCAN_METRICS)].isna().all(axis=None)
    assert f"scan_dice_{POINT}" in to_csv(frame([RECORD])).splitlines()[0]


def test_the_page_has_a_table_for_all_voxels_and_one_for_each_point_that_has_any():
    pages = render([RECORD])
    scans = pages[Path("toy.md")].split("<summary>On the scans' own grid")[1].split("</details>")[0]
    assert "At all thresholds\n" in scans
    assert f"At {POINTS[0].title}\n" in scans
    assert f"At {POINTS[1].title}\n" not in scans
    assert "0.840 [0.420, 0.840]" in scans
    assert "12.500 [6.250, 12.500]" in scans
    assert "- **HD95 mm** on the scans' own grid" in pages[Path("GLOSSARY.md")]


def test_sets_of_pictures_have_no_such_table_nor_glossary():
    assert not any("own grid" in page for page in render([make()]).values())


@pytest.mark.parametrize("other", [0.3, 0.7])
def test_seeds_are_pooled(other):
    seeds = [make(measurement=measurement(scans=scans(dice=d)), seed=i) for i, d in enumerate((0.5, other))]
    assert f"{(0.5 + other) / 2:.3f} ± 0.141" in render(seeds)[Path("toy.md")]


def table(*records) -> str:
    return render(records)[Path("toy.md")].split("<summary>On the scans' own grid")[1].split("</details>")[0]


def test_an_interval_that_so_few_subjects_cannot_give_is_left_out_and_said():
    judged = scans(dice=0.5, avd_percent=80.0)
    few = make(measurement=measurement(scans={**judged, "subjects": 5}, lesion_subjects=5))
    assert "| 80.000 |" in table(few)
    assert "0.500 [0.250, 0.500]" in table(few)
    assert "Not shown: intervals of AVD %, which held the truth" in render([few])[Path("toy.md")]


def test_numbers_that_are_not_defined_for_some_subjects_are_counted_below_the_table():
    judged = scans(dice=0.5, hd95_mm=12.5)
    judged["volumes"][0]["undefined"] = {"hd95_mm": 2, "avd_percent": 1}
    said = table(make(measurement=measurement(scans=judged)))
    assert (
        "Subjects for whom a number is not defined, left out of its mean: AVD %: `ddpm` 1; HD95 mm: `ddpm` 2." in said
    )
    assert "not defined" not in table(RECORD)


def test_columns_without_any_value_are_left_out():
    assert "lesion precision" not in table(RECORD)
    assert "| lesion precision |" in table(make(measurement=measurement(scans=scans(lesion_precision=0.5))))
