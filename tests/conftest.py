"""One thread a process: tests run in parallel by processes, and sums do not depend on the machine's number of cores."""

import os

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")
os.environ["OMP_NUM_THREADS"] = "1"  # read when torch and numpy start
os.environ["OPENBLAS_CORETYPE"] = "Haswell"  # by which the published scans were resampled: others round otherwise


def pytest_addoption(parser):
    parser.addoption("--rewrite-golden", action="store_true", help="write golden files anew (`make golden`)")


@pytest.fixture(scope="session")
def rewriting(request):
    """Whether golden files are written and not compared."""
    return request.config.getoption("--rewrite-golden")


@pytest.fixture(autouse=True, scope="session")
def _float32_on_the_cpu():
    """No run measures whether bfloat16 is faster here: tests compute the same on every processor."""
    from adbench.devices.cpu import Cpu

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Cpu, "has_bf16", False)
        yield


@pytest.fixture(autouse=True)
def _no_leases_of_other_tests():
    """A process holds what it uses until it ends: here until its test does."""
    yield
    from adbench.storage import holds

    holds.release()
