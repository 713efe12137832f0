"""The fields of every dataset of scans."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from pydantic import Field, model_validator

from adbench_datasets.imaging.preprocessing_config import PreprocessingConfig

PRESETS = {
    "smoke": {"size": 64, "max_subjects": 8},
    "small": {"size": 64},
    "standard": {"size": 64},
    "paper": {"size": 128},
}

LesionValues = Annotated[
    tuple[Annotated[int, Field(ge=1)], ...] | None,
    Field(min_length=1, description="mask values that are lesions, others being ignored; null: all but 0"),
]


class ScanConfig(PreprocessingConfig):
    """Fields of every dataset of scans, beside those of the preprocessing (flat: `--set data.size=128`)."""

    split_seed: int = Field(0, ge=0, description="seed of the order of subjects, by which they are split")
    validation_fraction: float = Field(0.1, gt=0, lt=1, description="fraction of the subjects for validation")
    test_fraction: float = Field(0.2, gt=0, lt=1, description="fraction of the subjects for testing")
    max_subjects: int | None = Field(None, ge=3, description="use about so many subjects; null: all")
    test_slices: Literal["all", "lesion"] = Field("all", description="test on all slices, or on those with a lesion")
    unmatched: Literal["refuse", "skip", "healthy"] = Field(
        "refuse",
        description="images without a mask where the layout has masks, or whose mask is all zero; masks without image",
    )
    max_skipped_fraction: float = Field(
        0.05, ge=0, lt=1, description="stop where more than this fraction of the cases cannot be used"
    )

    @model_validator(mode="after")
    def _some_train(self) -> ScanConfig:
        if self.validation_fraction + self.test_fraction >= 1:
            raise ValueError("validation_fraction and test_fraction together must leave subjects to train on")
        return self


ConfigT = TypeVar("ConfigT", bound=ScanConfig)
