"""Noise fields: variance, spectrum, and that no two are alike."""

from __future__ import annotations

import pytest
import torch
from adbench_baselines.diffusion.noise import pyramid, simplex, simplex_octaves, white
from torch import Tensor

from adbench.training.streams import stream

SIDE = 64
SIZE = (SIDE, SIDE)
BANDS = ((1, 2), (2, 4), (4, 8), (8, 16), (16, 32))
"""Of periods a side, each up to its end."""
FIELDS = {
    "white": lambda n, size, generator: white(n, size, generator),
    "simplex": lambda n, size, generator: simplex_octaves(n, size, 6, 0.8, 16.0, 2, generator),
    "slices": lambda n, size, generator: simplex_octaves(n, size, 6, 0.8, 16.0, 3, generator),
    "pyramid": lambda n, size, generator: pyramid(n, size, 0.8, generator),
}


def power(fields: Tensor) -> Tensor:
    """Return the mean power of all waves of r = 1, 2, ... periods a side, rounded."""
    spectrum = torch.fft.fft2(fields[:, 0]).abs().square().mean(0)
    periods = torch.fft.fftfreq(SIDE) * SIDE
    radius = torch.hypot(periods[:, None], periods[None, :]).round().long()
    return torch.stack([spectrum[radius == r].mean() for r in range(1, SIDE // 2)])


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_has_mean_0_and_variance_1(name):
    fields = FIELDS[name](400, SIZE, stream("noise", 0))
    assert fields.shape == (400, 1, *SIZE)
    assert float(fields.mean()) == pytest.approx(0, abs=0.06)
    assert float(fields.std()) == pytest.approx(1, rel=0.02)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("side", [16.0, 5.0, 2.0, 0.5])
def test_simplex_noise_has_unit_variance_at_every_wavelength_and_everywhere(side, share):
    fields = simplex(2000, (16, 16), side, stream("noise", 1), share)
    assert float(fields.std()) == pytest.approx(1, rel=0.03)
    torch.testing.assert_close(fields.std(0), torch.ones(1, 16, 16), atol=0.2, rtol=0)


@pytest.mark.parametrize("wavelength", [8.0, 16.0])
def test_the_power_of_one_octave_lies_around_its_wavelength(wavelength):
    found = power(simplex(200, SIZE, wavelength, stream("noise", 2)))
    periods = 1 + int(found.argmax())
    assert 0.5 <= periods * wavelength / SIDE <= 1.5
    assert float(found[2 * int(SIDE / wavelength) + 4 :].max()) < 0.05 * float(found.max())


def test_an_octave_of_half_the_wavelength_has_the_same_spectrum_at_twice_the_frequency():
    coarse, fine = (power(simplex(400, SIZE, wavelength, stream("noise", 3))) for wavelength in (16.0, 8.0))
    centre = [float((torch.arange(1, 32) * p).sum() / p.sum()) for p in (coarse, fine)]
    assert centre[1] / centre[0] == pytest.approx(2, rel=0.15)


def test_simplex_octaves_have_more_power_in_large_structures_than_in_small_ones_and_white_noise_does_not():
    octaves, flat = (power(FIELDS[name](100, SIZE, stream("noise", 4))) for name in ("simplex", "white"))
    assert float(octaves[1:6].mean() / octaves[-6:].mean()) > 10
    assert float(flat[1:6].mean() / flat[-6:].mean()) == pytest.approx(1, rel=0.1)


def test_a_slice_of_three_dimensions_has_a_level_of_its_own_and_a_plane_none():
    """Gradients alone are as often up as down within a wavelength; those along the third dimension are not."""
    levels = [
        float(simplex_octaves(400, (64, 64), 1, 1.0, 4.0, d, stream("noise", 12)).mean((1, 2, 3)).std()) for d in (2, 3)
    ]
    assert levels[1] > 3 * levels[0]


@pytest.mark.parametrize(
    ("dimensions", "wavelength", "theirs"),
    [(3, 16.0, (21.4, 11.1, 1.88, 0.280, 0.049)), (2, 42.667, (62.5, 11.5, 1.72, 0.244, 0.037))],
)
def test_octaves_have_the_power_of_those_of_the_papers_code_in_every_band(dimensions, wavelength, theirs):
    """Measured over 29 fields of AnoDDPM's code and 66 of pDDPM's, six octaves at 64 x 64 px."""
    found = power(simplex_octaves(200, SIZE, 6, 0.8, wavelength, dimensions, stream("noise", 13)))
    bands = torch.stack([found[first - 1 : end - 1].mean() for first, end in BANDS])
    expected = torch.tensor(theirs)
    torch.testing.assert_close(bands / bands.sum(), expected / expected.sum(), atol=0, rtol=0.25)


def test_a_lower_persistence_leaves_less_power_to_small_structures():
    ratios = []
    for persistence in (0.4, 0.8):
        found = power(simplex_octaves(100, SIZE, 6, persistence, 16.0, 2, stream("noise", 5)))
        ratios.append(float(found[-6:].mean() / found[1:6].mean()))
    assert ratios[0] < 0.5 * ratios[1]


def test_simplex_noise_is_continuous():
    fine, coarse = (simplex(50, SIZE, wavelength, stream("noise", 6)) for wavelength in (64.0, 16.0))
    steps = [float((f[..., 1:] - f[..., :-1]).abs().max()) for f in (fine, coarse)]
    assert steps[0] < 0.3
    assert steps[1] == pytest.approx(4 * steps[0], rel=0.5)


def test_a_pyramid_without_discounted_grids_is_white():
    found = power(pyramid(400, SIZE, 0.0, stream("noise", 7)))
    assert float(found[:5].mean() / found[-5:].mean()) == pytest.approx(1, rel=0.15)


def test_a_pyramid_has_more_power_in_large_structures():
    found = power(pyramid(400, SIZE, 0.8, stream("noise", 8)))
    assert float(found[0] / found[-5:].mean()) > 10


@pytest.mark.parametrize("name", FIELDS)
def test_the_stream_decides_a_field_and_no_two_fields_are_alike(name):
    first, again, other = (FIELDS[name](3, SIZE, stream("noise", key)) for key in (9, 9, 10))
    assert torch.equal(first, again)
    assert float((first - other).abs().mean()) > 0.3
    assert abs(float((first[0] * first[1]).mean())) < 0.4


@pytest.mark.parametrize("size", [(32, 48), (17, 5)])
@pytest.mark.parametrize("name", FIELDS)
def test_fields_may_have_any_size(name, size):
    assert FIELDS[name](2, size, stream("noise", 11)).shape == (2, 1, *size)
