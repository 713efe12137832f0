"""Pictures of restricted sets are not passed on."""

from __future__ import annotations

from adbench.contracts import registry


def test_pictures_may_be_published_of_four_sets_alone():
    ours = [entry.name for entry in registry.names(registry.DATASETS) if entry.distribution == "brain-adbench"]
    notices = {name: registry.load_dataset(name).cls.info.pictures for name in ours}
    assert {name for name, notice in notices.items() if notice} == {"phantom", "headct-sprites", "tcga-lgg", "mslub"}
