"""Records and times of which the pages are tested, and how a page is read again."""

from __future__ import annotations

import re

from record_factory import (
    dataset,
    environment,
    failed,
    make,
    measurement,
    metrics,
    strata,
    timed,
    trained_on,
)

PAPER = {"reported": {"best_dice": 0.92, "auprc": 0.955}, "reported_source": "A paper, table 1"}

GPU = environment(device="cuda", device_name="Some GPU", precision="bfloat16")

ELSEWHERE = dataset(train_on=trained_on(), fingerprint="e" * 16)

TUNING = {"trials": 20, "tier": "inference", "objectives": {"dice": 0.4}}

BY_SIZE = measurement(strata=strata())

RECORDS = [
    make("ddpm", metrics=metrics(0.91), **PAPER),
    make("ddpm", seed=1, metrics=metrics(0.89), **PAPER),
    make("control", metrics=metrics(0.95), parameters=0),
    make("blank", metrics=metrics(None), preset="demo"),
    make("ddpm", config_hash="777777012345", metrics=metrics(0.93), tuning=TUNING),
    make("ddpm", config_hash="999999012345", dataset=dataset(fingerprint="f" * 16, image_size=(128, 128))),
    make("ddpm", config_hash="555555012345", dataset=ELSEWHERE, metrics=metrics(0.7), measurement=BY_SIZE),
    make(
        "control",
        config_hash="555555012345",
        dataset=ELSEWHERE,
        metrics=metrics(0.8),
        measurement=measurement(strata=strata(0.25)),
    ),
    failed("broken", "RuntimeError: a|b\nof <class 'x'>"),
    failed("waiting", "needs CUDA").model_copy(update={"status": "skipped"}),
]

TIMES = [
    timed(RECORDS[0], 160.0, repeats=3),
    timed(RECORDS[1], 1.5, GPU),
    timed(RECORDS[2], 0.02, stages_s={}, passes={}, flops=0),
    timed(RECORDS[3], 3.0, batch_size=50),
    timed(RECORDS[5], 90.0, whole_s={"score": 91.0}),
    timed(RECORDS[6], 0.5, others={"score": 0.01, "latency": 0.5}),
    timed(RECORDS[7]),
]


def answer(page: str) -> str:
    """What stands outside of all details."""
    return re.sub(r"<details>.*?</details>", "", page, flags=re.DOTALL)


def details(page: str, title: str) -> str:
    """What is inside the details whose title begins so."""
    return page.split(f"<summary>{title}")[1].split("</details>")[0]


def rows(text: str) -> list[list[str]]:
    """The body of a Markdown table as cells."""
    lines = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table_of(text)]
    return lines[2:]


def table_of(text: str) -> list[str]:
    """The lines of the first Markdown table."""
    return re.search(r"(?:^\|.*\|\n?)+", text, re.MULTILINE)[0].splitlines()
