"""Bad input gets one clear error, through the command line, and leaves nothing half-written."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
import toys
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from adbench.cli.app import app
from adbench.cli.arguments import at_home
from adbench.config.options import RunOptions
from adbench.errors import ConfigError

QUICK = ["protocol.resamples=20", "protocol.timing_slices=2", "protocol.timing_budget_s=0.01"]
PHANTOM = ["data.n_train=2", "data.n_validation=4", "data.n_test=8"]


class CommandLine:
    """`adbench run` with an output and a cache folder of its own."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.out, self.cache, self._capsys = folder / "out", folder / "cache", capsys

    def __call__(self, *arguments: object, settings: list[str] | None = None) -> tuple[int, str, str]:
        folders = ["--out", str(self.out), "--cache", str(self.cache)]
        line = ["run", "--preset", "smoke", *folders, *map(str, arguments), "--set", *QUICK, *(settings or [])]
        with pytest.raises(SystemExit) as end:
            app(line, prog_name="adbench")
        captured = self._capsys.readouterr()
        return int(end.value.code or 0), captured.out, captured.err

    def refuses(self, *arguments: object, settings: list[str] | None = None) -> str:
        """The one message of a command that cannot be carried out, which leaves no file and no folder."""
        code, out, err = self(*arguments, settings=settings)
        assert (code, out) == (2, ""), err
        assert "Traceback" not in err
        (line,) = err.splitlines()
        assert line.startswith("error: ")
        assert not os.path.lexists(self.out)
        assert not os.path.lexists(self.cache)
        return line.removeprefix("error: ")


@pytest.fixture
def adbench(tmp_path, capsys, monkeypatch):
    toys.install(tmp_path / "site", monkeypatch)
    monkeypatch.delenv("ADBENCH_DATA", raising=False)
    monkeypatch.delenv("ADBENCH_CACHE", raising=False)
    return CommandLine(tmp_path, capsys)


TOY = ["--method", "toy-trained", "--dataset", "toy"]
DDIM = ["--method", "ddim", "--dataset", "phantom"]
HEADCT = ["--method", "toy-brightness", "--dataset", "headct-sprites"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "toy-traned", "--dataset", "toy"], "no detector 'toy-traned'; did you mean 'toy-trained'?"),
        (["--method", "toy-trained", "nope", "--dataset", "toy"], "no detector 'nope'"),
        (["--method", "toy-trained", "--dataset", "phantm"], "no dataset 'phantm'; did you mean 'phantom'?"),
        ([*TOY, "--preset", "smal"], "no preset 'smal'; did you mean 'small'? Presets are smoke, demo,"),
    ],
)
def test_an_unknown_name_is_named_with_the_nearest(adbench, arguments, message):
    assert adbench.refuses(*arguments).startswith(message)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            "unet.stepz=3",
            "no setting 'unet.stepz' for ddim; did you mean 'unet.steps'? 'adbench info ddim' lists them.",
        ),
        ("n_train=3", "no setting 'n_train' for ddim; did you mean 'data.n_train'?"),
        (
            "data.n_trian=3",
            "no setting 'data.n_trian' for phantom; did you mean 'data.n_train'? 'adbench info phantom'",
        ),
        ("protocol.resample=3", "no setting 'protocol.resample' for the protocol; did you mean 'protocol.resamples'?"),
        ("unet.steps=-1", "ddim: unet.steps: Input should be greater than or equal to 1, got -1."),
        ("unet.steps=many", "ddim: unet.steps: Input should be a valid integer"),
        ("unet.steps=true", "ddim: unet.steps: Input should be a finite number, got True."),
        ("unet.learning_rate=Infinity", "ddim: unet.learning_rate: Input should be a finite number, got inf."),
        ("t_low=700", "ddim: settings: t_low < t_high <= T + 1 is needed, got 700, 600, T = 1000."),
        ("start_t=2000", "ddim: settings: start_t <= T is needed, got 2000 and T = 1000."),
        ("vqvae.factor=3", "ddim: vqvae: factor must be 2, 4 or 8."),
        ("vqvae=3", "ddim: vqvae: Input should be a valid dictionary"),
        ('unet={"stepz": 3}', "ddim: unet.stepz: Extra inputs are not permitted, got 3."),
        ("data.n_train=0", "phantom: data.n_train: Input should be greater than or equal to 1, got 0."),
        ("data.n_test=7", "phantom: data: n_test must be a multiple of twice the number of kinds (8)"),
        ("protocol.region=head", "protocol: protocol.region: Input should be 'image' or 'brain', got 'head'."),
        ("protocol.region=image,head", "protocol: protocol.region: Input should be 'image' or 'brain', got 'head'."),
        ("unet.steps", "A setting is written key=value, such as unet.steps=100, got 'unet.steps'."),
        ("=3", "A setting is written key=value, such as unet.steps=100, got '=3'."),
    ],
)
def test_a_wrong_setting_is_named_with_its_rule_and_value(adbench, setting, message):
    answer = adbench.refuses(*DDIM, settings=[setting])
    assert answer.startswith(message)
    assert not answer.endswith("..")


def test_a_setting_that_none_of_several_methods_has_is_refused(adbench):
    answer = adbench.refuses("--method", "toy-trained", "toy-brightness", "--dataset", "toy", settings=["foo=3"])
    assert answer.startswith("no setting 'foo' for toy-trained or toy-brightness.")


def test_too_few_validation_images_for_the_percentile_are_refused_before_training(adbench):
    rule = ["threshold=position", "percentile=97.5"]
    answer = adbench.refuses(*DDIM, settings=[*PHANTOM, *rule])
    assert "97.5th percentile at each position needs at least 40 healthy validation images, got 2" in answer
    assert "threshold=global" in answer


def test_an_image_size_that_the_network_cannot_halve_is_refused_before_training(adbench, monkeypatch):
    images = np.random.default_rng(0).random((6, 1, 18, 18), np.float32)

    def load(self):
        names = ("train", "validation", "test")
        parts = [toys.healthy(images[2 * i : 2 * i + 2], name) for i, name in enumerate(names)]
        return toys.Splits(parts[0], parts[1], toys.replace(parts[2], lesions=parts[2].images > 0.5))

    monkeypatch.setattr(toys.ToyData, "load", load)
    answer = adbench.refuses("--method", "vqvae-residual", "--dataset", "toy")
    assert answer == "vqvae-residual: Image sides must be multiples of factor=4, got 18 x 18."


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_is_refused_where_there_is_none(adbench):
    answer = adbench.refuses(*TOY, "--device", "cuda")
    assert "--device cuda needs a CUDA device" in answer
    assert "--device auto" in answer


def test_devices_of_several_kinds_are_refused_in_one_sentence(adbench):
    answer = adbench.refuses(*TOY, "--device", "cpu,cuda")
    assert answer == "Devices that score side by side must be of one type, got --device cpu,cuda. Name one type."


def test_a_processor_has_one_number(adbench):
    assert adbench.refuses(*TOY, "--device", "cpu,cpu:1") == "--device cpu:1 needs a device that is here: cpu:0."


def jpeg(size: tuple[int, int] = (64, 64)) -> bytes:
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (size[1], size[0]), np.uint8)
    Image.fromarray(noise).save(stream, "JPEG")
    return stream.getvalue()


def put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def tar(path: Path, members: dict[str, bytes], cut: int = 0) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    put(path, stream.getvalue()[: len(stream.getvalue()) - cut])


GOOD = "MedNIST/HeadCT/000000.jpeg"
BAD = "MedNIST/HeadCT/000001.jpeg"
ROOTS = {
    "a root that is not there": (lambda root: None, "looks for MedNIST.tar.gz or MedNIST/HeadCT, but found none of"),
    "an empty root": (lambda root: root.mkdir(), "looks for MedNIST.tar.gz or MedNIST/HeadCT, but found none of"),
    "a root that is a file": (lambda root: put(root, b"hello"), "(not a gzip file): it is damaged or another file."),
    "an empty folder": (lambda root: (root / "HeadCT").mkdir(parents=True), "images (*.jpeg) are needed, but"),
    "a truncated image": (lambda root: put(root / BAD, jpeg()[:900]), "000001.jpeg is truncated"),
    "a file that is no image": (lambda root: put(root / BAD, b"hello"), "000001.jpeg is truncated or not a JPEG"),
    "an image of another size": (lambda root: put(root / BAD, jpeg((32, 64))), "000001.jpeg is 32 x 64."),
    "too few images": (lambda root: put(root / GOOD, jpeg()), "there are 1 unique ones"),
    "an escaping path": (
        lambda root: tar(root / "MedNIST.tar.gz", {GOOD: jpeg(), "../../evil.jpeg": b"x"}),
        "'../../evil.jpeg', which leads out of the archive",
    ),
    "a truncated archive": (
        lambda root: tar(root / "MedNIST.tar.gz", {GOOD: jpeg()}, cut=30),
        "MedNIST.tar.gz as MedNIST.tar.gz (Compressed file ended",
    ),
    "an archive without HeadCT": (
        lambda root: tar(root / "MedNIST.tar.gz", {"MedNIST/Hand/1.jpeg": b""}),
        "holds none",
    ),
}


@pytest.mark.parametrize("name", ROOTS)
def test_bad_data_are_named_with_their_place_and_the_next_step(adbench, tmp_path, name):
    make, message = ROOTS[name]
    root = tmp_path / "Daten für Köpfe 頭"
    make(root)
    before = sorted(tmp_path.rglob("*"))
    answer = adbench.refuses(*HEADCT, "--data-root", root)
    assert message in answer
    assert str(root) in answer or "unique" in answer
    assert sorted(tmp_path.rglob("*")) == before


def test_without_a_data_root_the_option_and_the_variable_are_named(adbench):
    answer = adbench.refuses(*HEADCT)
    assert "--data-root (or ADBENCH_DATA)" in answer


def test_the_data_root_may_come_from_the_environment(adbench, tmp_path, monkeypatch):
    monkeypatch.setenv("ADBENCH_DATA", str(tmp_path / "nowhere"))
    assert str(tmp_path / "nowhere" / "MedNIST") in adbench.refuses(*HEADCT)


@pytest.mark.parametrize("option", ["--out", "--cache"])
@pytest.mark.parametrize("below", ["", "sub/folder"])
def test_a_folder_that_cannot_be_is_refused_before_the_run_with_its_option(adbench, tmp_path, option, below):
    (tmp_path / "file").write_text("mine")
    answer = adbench.refuses(*TOY, option, tmp_path / "file" / below)
    assert "cannot be" in answer
    assert str(tmp_path / "file") in answer
    assert f"name another folder with {option}" in answer
    assert (tmp_path / "file").read_text("utf-8") == "mine"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT])
@pytest.mark.parametrize("folder", ["out", "cache"])
def test_a_full_or_read_only_folder_is_refused_before_the_run(adbench, monkeypatch, code, folder):
    blocked, rename = getattr(adbench, folder), os.replace

    def replace(source, target):
        if Path(target).is_relative_to(blocked):
            raise OSError(code, os.strerror(code), str(target))
        rename(source, target)

    monkeypatch.setattr(os, "replace", replace)
    answer = adbench.refuses(*TOY)
    assert os.strerror(code) in answer
    assert f"--{folder}" in answer


@pytest.mark.parametrize("when", range(3, 12))
def test_a_disk_that_fills_up_while_running_is_an_error_and_the_run_goes_on_later(adbench, monkeypatch, when):
    """After the two probes come the files of part, scores, manifest, record and pages."""
    sync, count = os.fsync, [0]

    def fsync(handle):
        count[0] += 1
        if count[0] == when:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        code, out, err = adbench(*TOY, settings=["part.steps=1"])
    assert (code, out) == (2, "")
    assert "No space left on device" in err.splitlines()[-1]
    assert "Free space there" in err.splitlines()[-1]
    assert "Traceback" not in err
    hidden = [p for folder in (adbench.out, adbench.cache) for p in folder.rglob(".*") if p.name != ".in-use"]
    assert hidden == []
    assert list(adbench.out.glob("records/*/*/*.json")) == []
    assert adbench(*TOY, settings=["part.steps=1"])[0] == 0


def test_a_page_on_a_full_disk_is_an_error_and_the_record_is_kept(adbench, monkeypatch):
    rename = os.replace

    def replace(source, target):
        if str(target).endswith(".md"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        code, _, err = adbench(*TOY)
    assert code == 2
    assert "No space left on device" in err
    assert len(list(adbench.out.glob("records/*/*/*-seed0.json"))) == 1
    assert list(adbench.out.glob("*.md")) == []


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        ("toy-nan", "Scores must be finite"),
        ("toy-infinite", "Scores must be finite"),
        ("toy-misshapen", "must have the shape (4, 1, 16, 16); received (4, 1, 8, 16)"),
        ("toy-list", "Scores must be a torch tensor, but toy-list returned list."),
        ("toy-raising", "ValueError: the toy broke"),
        ("toy-greedy", "out of memory on cpu (tried to allocate 99 GiB)"),
    ],
)
def test_a_faulty_detector_fails_with_its_reason_on_the_page_and_the_others_go_on(adbench, method, reason):
    code, out, err = adbench("--method", method, "toy-brightness", "--dataset", "toy")
    assert code == 1
    assert err.splitlines()[-1].startswith(f"failed: {method} on toy: ")
    assert reason in err.splitlines()[-1]
    assert "1.000" in out
    assert reason in (adbench.out / "toy.md").read_text("utf-8")


def test_a_damaged_record_of_another_run_is_named_and_this_runs_record_is_kept(adbench):
    put(adbench.out / "records/toy/other/abc-seed0.json", b"{")
    code, _, err = adbench(*TOY)
    assert code == 2
    assert "abc-seed0.json is not a record" in err.splitlines()[-1]
    assert len(list(adbench.out.glob("records/toy/toy-trained/*-seed0.json"))) == 1


def test_a_refusal_of_the_real_command_has_no_traceback_and_leaves_nothing(tmp_path):
    folders = ["--out", tmp_path / "out", "--cache", tmp_path / "cache", "--data-root", tmp_path / "kein Ort ü"]
    command = [sys.executable, "-m", "adbench", "run", *HEADCT, *folders]
    command[command.index("toy-brightness")] = "intensity"
    environment = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert (done.returncode, done.stdout) == (2, b"")
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("error: headct-sprites looks for MedNIST.tar.gz or MedNIST/HeadCT, but found none of")
    assert "kein Ort ü/MedNIST/HeadCT" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("seed", [-1, 2**32, 2**64])
def test_a_seed_that_a_library_would_not_take_is_refused(adbench, seed):
    code, out, err = adbench(*TOY, "--seed", seed)
    assert (code, out) == (2, "")
    assert "--seed" in err
    with pytest.raises(ConfigError, match="A seed is a whole number from 0 to 4294967295"):
        RunOptions(seed=seed)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    option=st.sampled_from(
        ["--method", "--dataset", "--train-on", "--seed", "--preset", "--device", "--set", "--tuned"]
    ),
    value=st.text(min_size=1, max_size=12).map(lambda text: f"x{text}"),
)
def test_no_value_of_an_option_ends_in_anything_but_a_message_and_exit_code_2(adbench, option, value):
    code, out, err = adbench(*TOY, option, value)
    assert (code, out) == (2, "")
    assert "Traceback" not in err
    assert err.strip()
    assert not os.path.lexists(adbench.out)


def test_a_tilde_is_the_home_folder_wherever_it_stands(tmp_path):
    home = str(Path.home())
    given = ["--out=~/x", "--out", "~/y", "~", "--set", "a=~b", "x~", "~user/z"]
    assert at_home(given) == [f"--out={home}/x", "--out", f"{home}/y", home, *given[4:]]
