"""The plan of a suite: in order, shared parts once, and what cannot be run says why."""

from __future__ import annotations

from pathlib import Path

import pytest
import toys

from adbench.config.options import Silent
from adbench.execution.job import Folders, Job
from adbench.execution.planning import PlannedJob, costs, in_all, plan
from adbench.protocol import harness

QUICK = ("protocol.resamples=20", "protocol.timing_slices=2", "protocol.timing_budget_s=0.01")


@pytest.fixture(autouse=True)
def _plugins(tmp_path, monkeypatch):
    toys.install(tmp_path / "site", monkeypatch)


def job(method: str, seed: int = 0, **more: object) -> Job:
    return Job(method, "toy", seed, "smoke", settings=QUICK)._replace(**more)


def planned(tmp_path: Path, *jobs: Job, measured: bool = False) -> list[PlannedJob]:
    return plan(jobs, Folders(tmp_path / "out", tmp_path / "cache"), "cpu", Silent(), measured)


def test_a_plan_writes_nothing_and_keeps_the_order(tmp_path):
    jobs = [job("toy-twin", 1), job("toy-brightness", 0), job("toy-trained", 0)]
    assert [each.job for each in planned(tmp_path, *jobs)] == jobs
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "cache").exists()


def test_what_has_a_record_is_done_and_makes_nothing(tmp_path):
    options = job("toy-trained").options(Folders(tmp_path / "out", tmp_path / "cache"), "cpu")
    harness.run(["toy-trained"], "toy", options, Silent())
    done, other = planned(tmp_path, job("toy-trained"), job("toy-trained", seed=1))
    assert (done.status, done.to_make) == ("done", {})
    assert (other.status, len(other.to_make)) == ("to do", 1)


def test_a_job_that_a_run_would_refuse_has_the_reason_and_the_others_are_planned(tmp_path):
    jobs = [job("toy-trained"), job("toy-trained", settings=(*QUICK, "part.stepz=3")), job("toy-brightness")]
    good, bad, other = planned(tmp_path, *jobs)
    assert (good.status, bad.status, other.status) == ("to do", "cannot run", "to do")
    assert "part.steps" in bad.reason


def test_a_setting_of_a_grid_reaches_those_that_have_it(tmp_path):
    given = (*QUICK, "part.steps=3", "data.n_test=4")
    trained, plain = planned(tmp_path, job("toy-trained", settings=given), job("toy-brightness", settings=given))
    assert trained.own.settings == given
    assert plain.own.settings == (*QUICK, "data.n_test=4")
    assert plain.job.settings == given, "what is known of a job is kept by what the suite says"


def test_a_part_that_two_jobs_share_counts_once(tmp_path):
    jobs = planned(tmp_path, job("toy-trained"), job("toy-twin"))
    first, second = costs(jobs)
    assert (len(first.parts), second.parts) == (1, [])
    assert in_all([first, second]).parts == first.parts


def test_another_seed_costs_what_the_first_one_was_measured_to_cost(tmp_path):
    settings = ("vqvae.channels=8", "vqvae.codes=8", "data.n_train=8", "data.n_test=8", *QUICK)
    jobs = [Job("vqvae-residual", "phantom", seed, "smoke", settings=settings) for seed in (0, 1)]
    first, second = planned(tmp_path, *jobs, measured=True)
    assert (first.reason, second.reason) == ("", "")
    (a,), (b,) = first.to_make.values(), second.to_make.values()
    assert a.key != b.key
    assert (a.estimated_s, a.parameters, a.flops) == (b.estimated_s, b.parameters, b.flops)
    each = costs([first, second])
    total = in_all(each)
    assert total.seconds == sum(one.seconds for one in each) >= 2 * a.estimated_s > 0
    assert total.memory_bytes == each[0].memory_bytes == each[1].memory_bytes > 0
    assert in_all(costs(planned(tmp_path, jobs[0]))).seconds is None, "nothing was measured"


@pytest.mark.slow
def test_parts_and_score_maps_take_the_disk_that_was_planned(tmp_path):
    small = ("vqvae.channels=8", "vqvae.codes=8", "vqvae.steps=200", "vqvae.batch_size=1")
    job = Job("vqvae-residual", "phantom", 0, "smoke", settings=(*small, "data.n_train=8", "data.n_test=8", *QUICK))
    (own,) = costs(planned(tmp_path, job, measured=True))
    folders = Folders(tmp_path / "out", tmp_path / "cache")
    harness.run([job.method], job.dataset, job.options(folders, "cpu"), Silent())
    assert own.disk_bytes == pytest.approx(disk(folders.cache), rel=0.05)
    done = in_all(costs(planned(tmp_path, job, measured=True)))
    assert done.disk_bytes == done.seconds == 0


def disk(cache: Path) -> int:
    return sum(path.stat().st_size for path in (cache / "artifacts").rglob("*.safetensors"))
