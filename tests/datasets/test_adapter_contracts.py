"""Every adapter that splits by itself passes the contract of datasets, on a tiny copy of its layout."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from typing import Any, ClassVar

import layouts_ct
import layouts_folder
import layouts_mri
import layouts_ms
import pandas as pd
import pytest
from adbench_datasets.atlas import Atlas
from adbench_datasets.bhsd import BHSD
from adbench_datasets.ct_bleeds import KCH, Chronic, Cromis
from adbench_datasets.ct_ich import CTICH
from adbench_datasets.fastmri_plus import FastMRIPlus
from adbench_datasets.folder import Folder
from adbench_datasets.instance22 import Instance22
from adbench_datasets.isbi2015 import ISBI2015
from adbench_datasets.ixi import IXI
from adbench_datasets.ms_muslim import MSMuslim
from adbench_datasets.mslesseg import MSLesSeg
from adbench_datasets.oasis3 import OASIS3
from adbench_datasets.ukb import UKB
from adbench_datasets.wmh import WMH

from adbench.config.settings import resolve
from adbench.contracts import registry
from adbench.contracts.dataset import DataRuntime, Dataset
from adbench.metrics.catalogue import METRICS
from adbench.testing import DatasetContract

ALL = (
    *(UKB, WMH, Cromis, KCH, Chronic, CTICH, Instance22, BHSD, OASIS3, FastMRIPlus, Folder),
    *(Atlas, ISBI2015, IXI, MSLesSeg, MSMuslim),
)


class OnALayout(DatasetContract):
    """The layout is written once a class, below pytest's own folder."""

    layout: ClassVar[tuple[Callable[..., Any], str]]

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def written(cls, tmp_path_factory: pytest.TempPathFactory) -> None:
        root = tmp_path_factory.mktemp(cls.__name__)
        make, release = cls.layout
        make(root, release=release)
        cls.data_root = root

    def make(self) -> Dataset[Any]:
        cls = self.dataset_class
        config = resolve(cls.Config, [{"size": 64, **self.settings}], cls.__name__)
        return cls(config, self.data_root, DataRuntime(workers=1))


class TestUKB(OnALayout):
    dataset_class = UKB
    layout = layouts_mri.make_ukb, "flat"
    settings = {"n_healthy": 3}


class TestMSLesSeg(OnALayout):
    dataset_class = MSLesSeg
    layout = layouts_ms.make_mslesseg, "official"
    settings = {"healthy_margin_slices": 0}


class TestMSMuslim(OnALayout):
    dataset_class = MSMuslim
    layout = layouts_ms.make_ms_muslim, "mendeley"


class TestISBI2015(OnALayout):
    dataset_class = ISBI2015
    layout = layouts_ms.make_isbi2015, "nii"
    settings = {"rater": "both", "healthy_margin_slices": 0}


class TestAtlas(OnALayout):
    dataset_class = Atlas
    layout = layouts_ms.make_atlas, "2.0"
    settings = {"healthy_margin_slices": 0}


class TestIXI(OnALayout):
    dataset_class = IXI
    layout = layouts_ms.make_ixi, "archives"
    parts = ("healthy",)


class TestCromis(OnALayout):
    dataset_class = Cromis
    layout = layouts_ct.make_bleeds, "csv"


class TestCTICHSlices(OnALayout):
    dataset_class = CTICH
    layout = layouts_ct.make_ct_ich, "1.0.0"


class TestCTICHVolumes(OnALayout):
    dataset_class = CTICH
    layout = layouts_ct.make_ct_ich, "1.3.1"


class TestInstance22(OnALayout):
    dataset_class = Instance22
    layout = layouts_ct.make_instance22, "train"


class TestBHSD(OnALayout):
    dataset_class = BHSD
    layout = layouts_ct.make_bhsd, "label_192"


class TestFolder(OnALayout):
    dataset_class = Folder
    layout = layouts_folder.make_folder, "folders"


class TestFolderOfPictures(OnALayout):
    dataset_class = Folder
    layout = (lambda root, release: layouts_folder.make_folder(root, "csv", release)), "png"


class TestKCH(OnALayout):
    dataset_class = KCH
    layout = layouts_ct.make_bleeds, "csv"
    parts = ("test",)


class TestChronic(OnALayout):
    dataset_class = Chronic
    layout = layouts_ct.make_bleeds, "csv"
    parts = ("test",)


class TestWMH(OnALayout):
    dataset_class = WMH
    layout = layouts_mri.make_wmh, "2022"
    parts = ("test",)


class TestOASIS3(OnALayout):
    dataset_class = OASIS3
    layout = layouts_mri.make_oasis3, "xnat"
    parts = ("healthy",)


class TestFastMRIPlus(OnALayout):
    dataset_class = FastMRIPlus
    layout = layouts_mri.make_fastmri_plus, "nifti"
    parts = ("healthy",)


@pytest.mark.parametrize("cls", ALL)
def test_the_card_says_modality_access_and_where_reported_results_are_from(cls):
    info = cls.info
    assert info.modality.split()[0] in ("MRI", "CT")
    for text in (info.summary, info.licence, info.citation, info.access):
        assert text
    assert all(0 < each.value < 1 for each in info.reported if each.metric in METRICS)


@pytest.mark.parametrize("cls", ALL)
def test_every_field_is_described(cls):
    assert [name for name, field in cls.Config.model_fields.items() if not field.description] == []


def test_reported_results_are_those_of_the_paper():
    """Tables 2 and 3 of Pinaya et al. 2022: the complete method, and step (d) at f = 8."""
    assert {c.__name__: best_dice(c, "ddpm") for c in (UKB, WMH, Cromis, KCH, Chronic)} == {
        "UKB": 0.232,
        "WMH": 0.298,
        "Cromis": 0.215,
        "KCH": 0.471,
        "Chronic": 0.221,
    }
    assert [best_dice(c, "ddim-f8") for c in (Cromis, KCH, Chronic)] == [0.286, 0.483, 0.285]


def best_dice(cls, method: str) -> float:
    (value,) = (each.value for each in cls.info.reported if (each.registered, each.metric) == (method, "best_dice"))
    return value


def test_every_published_value_is_of_a_registered_dataset_metric_and_method_and_stands_once():
    table = pd.read_csv(files("adbench_datasets") / "reported.csv", keep_default_na=False)
    names = {entry.name for entry in registry.names(registry.DATASETS)}
    methods = {entry.name for entry in registry.names(registry.DETECTORS)}
    assert set(table["dataset"]) <= names
    assert set(table["registered"]) <= methods | {""}
    assert set(table["metric"]) <= {*METRICS, "s_per_100_slices"}
    beside_ours = table[table["registered"] != ""]
    assert not beside_ours.duplicated(["dataset", "registered", "metric"]).any()
    assert not table.duplicated(["dataset", "method", "metric", "source", "place"]).any()
