"""Plugins are found by entry points, whoever distributes them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from adbench.config import presets
from adbench.contracts import registry
from adbench.errors import ConfigError, PluginError, UnknownPluginError

PLUGIN = """
from adbench.contracts.detector import Detector, DetectorConfig, DetectorInfo

class Config(DetectorConfig):
    steps: int = 1

class Good(Detector[Config]):
    Config = Config
    info = DetectorInfo(summary="s", source="control", version="1")
    def fit(self, healthy, validation): ...
    def score(self, images): return images

class Half(Detector[Config]):
    info = Good.info
    def fit(self, healthy, validation): ...

class Bare(Detector[Config]):
    def fit(self, healthy, validation): ...
    def score(self, images): return images

NOTHING = 3
"""


class Installer:
    """Puts distributions on a path that Python searches first."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self._monkeypatch = root, monkeypatch

    def __call__(self, name: str, points: str, group: str = registry.DETECTORS, where: str = "site") -> None:
        info = self.root / where / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{group}]\n{points}\n")
        self._monkeypatch.syspath_prepend(str(info.parent))

    def module(self, name: str, text: str) -> None:
        (self.root / "site").mkdir(exist_ok=True)
        (self.root / "site" / f"{name}.py").write_text(text)
        self._monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.fixture
def install(tmp_path, monkeypatch):
    yield Installer(tmp_path, monkeypatch)
    for name in ("strange_plugin", "raising_plugin"):
        sys.modules.pop(name, None)


def names(group: str = registry.DETECTORS) -> list[str]:
    return [entry.name for entry in registry.names(group)]


def test_first_party_plugins_are_listed_like_any_other():
    assert {"ddpm", "ddim", "intensity"} <= set(names())
    assert {"phantom", "headct-sprites"} <= set(names(registry.DATASETS))
    assert names() == sorted(names())


def test_a_strangers_plugin_is_listed_with_its_distribution_and_not_imported(install):
    install("strange-plugins", "stranger = strange_plugin:Good")
    install.module("strange_plugin", "raise SystemExit('imported')")
    entry = registry.find(registry.DETECTORS, "stranger")
    assert (entry.distribution, entry.version) == ("strange-plugins", "1.0")
    assert registry.problem(entry) is None
    assert "strange_plugin" not in sys.modules


def test_a_strangers_plugin_is_loaded(install):
    install("strange-plugins", "stranger = strange_plugin:Good")
    install.module("strange_plugin", PLUGIN)
    loaded = registry.load_detector("stranger")
    assert loaded.cls.__name__ == "Good"
    assert loaded.entry.distribution == "strange-plugins"


def test_a_name_that_two_distributions_register_is_an_error_that_names_both(install):
    install("first-plugins", "same = a:A")
    install("second-plugins", "same = b:B")
    with pytest.raises(PluginError, match=r"'same' is registered by both \S+-plugins and \S+-plugins") as error:
        registry.names(registry.DETECTORS)
    assert "first-plugins" in str(error.value)
    assert "second-plugins" in str(error.value)


def test_the_same_distribution_seen_twice_is_no_duplicate(install):
    install("twice", "same = a:A", where="site")
    install("twice", "same = b:B", where="checkout")
    assert names().count("same") == 1
    assert registry.find(registry.DETECTORS, "same").target == "b:B", "the first on the path counts"


def test_one_name_may_be_a_detector_and_a_dataset(install):
    install("both-detector", "both = a:A")
    install("both-dataset", "both = a:A", group=registry.DATASETS)
    assert "both" in names()
    assert "both" in names(registry.DATASETS)


def test_an_install_without_metadata_is_listed_as_unknown(install, tmp_path):
    install("leftover", "left = a:A")
    (tmp_path / "site/leftover-1.0.dist-info/METADATA").write_text("")
    assert registry.find(registry.DETECTORS, "left").version == "unknown"


def test_an_unknown_name_gets_a_suggestion_and_the_number_of_names():
    total = len(names())
    message = rf"^no detector 'ddpn'; did you mean 'ddpm'\? Run 'adbench list' to see all {total}\.$"
    with pytest.raises(UnknownPluginError, match=message):
        registry.load_detector("ddpn")
    with pytest.raises(UnknownPluginError, match=r"^no dataset 'zzzzz'\. Run.*--set data\.name=NAME"):
        registry.load_dataset("zzzzz")


def test_a_plugin_whose_module_is_gone_is_reported_and_does_not_stop_the_list(install):
    install("gone-plugins", "gone = gone_module.inner:A")
    assert "ddpm" in names()
    assert registry.problem(registry.find(registry.DETECTORS, "gone")) == "module 'gone_module.inner' is not found"
    with pytest.raises(PluginError, match="ModuleNotFoundError: No module named 'gone_module'"):
        registry.load_detector("gone")


def test_looking_for_a_submodule_does_not_import_its_package(install, tmp_path):
    install("packed", "packed = packed_plugin.inner:A\nlost = packed_plugin.missing:A")
    package = tmp_path / "site/packed_plugin"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    (package / "inner.py").write_text("")
    assert registry.problem(registry.find(registry.DETECTORS, "packed")) is None
    assert registry.problem(registry.find(registry.DETECTORS, "lost")) is not None


@pytest.mark.parametrize("text", ["import surely_not_installed", "1 / 0", "raise SystemExit(3)", "def broken("])
def test_a_plugin_that_fails_on_import_gives_the_cause(install, text):
    install("raising-plugins", "raising = raising_plugin:A")
    install.module("raising_plugin", text)
    with pytest.raises(PluginError, match=r"'raising' of raising-plugins 1\.0 cannot be loaded") as error:
        registry.load_detector("raising")
    assert error.value.__cause__ is not None
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("target", "fault"),
    [
        ("NOTHING", "3 is none"),
        ("Config", "Config'> is none"),
        ("Half", "Half does not define score"),
        ("Bare", "Bare has no `info`"),
        ("Missing", "AttributeError"),
    ],
)
def test_an_object_that_breaks_the_contract_is_refused_when_it_is_loaded(install, target, fault):
    install("strange-plugins", f"stranger = strange_plugin:{target}")
    install.module("strange_plugin", PLUGIN)
    assert "stranger" in names()
    with pytest.raises(PluginError, match=fault):
        registry.load_detector("stranger")


def test_an_unknown_preset_gets_a_suggestion():
    assert presets.check_preset("smoke") == "smoke"
    with pytest.raises(ConfigError, match=r"no preset 'smal'; did you mean 'small'\?"):
        presets.check_preset("smal")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("family = 'magic'", r"its family is 'magic', not one of reconstruction, likelihood"),
        ("knowledge = 'all'", r"its knowledge is 'all', not one of nothing, synthetic anomalies"),
    ],
)
def test_a_family_or_knowledge_of_no_known_name_is_refused_with_those_that_there_are(install, line, said):
    install("strange-plugins", "stranger = strange_plugin:Odd")
    install.module("strange_plugin", f"{PLUGIN}\nclass Odd(Good):\n    {line}\n")
    with pytest.raises(PluginError, match=said):
        registry.load_detector("stranger")
