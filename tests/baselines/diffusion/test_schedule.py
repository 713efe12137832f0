"""The equations of diffusion, against each other, against torch.distributions and against MONAI's schedulers."""

from __future__ import annotations

import itertools

import pytest
import torch
from adbench_baselines.diffusion.schedule import (
    Schedule,
    ddim_step,
    ddpm_step,
    descent,
    kl_term,
    posterior_mean,
    predict_eps,
    predict_x_0,
    q_forward,
    q_sample,
    spaced,
)
from hypothesis import given
from hypothesis import strategies as st
from monai.networks.schedulers import DDIMScheduler, DDPMScheduler
from torch.distributions import Normal, kl_divergence

SCHEDULE = Schedule.scaled_linear(1000, 0.0015, 0.0195)
STEPS = [2, 3, 50, 400, 599, 1000]


def draw(n: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Return `n` independent (2, 3, 4, 4) float64 fields."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(2, 3, 4, 4, generator=generator, dtype=torch.float64) for _ in range(n))


@pytest.mark.parametrize(("ours", "theirs"), [("beta", "betas"), ("alpha", "alphas"), ("alpha_bar", "alphas_cumprod")])
def test_tables_are_monais_one_step_later(ours, theirs):
    monai = DDPMScheduler(1000, "scaled_linear_beta", beta_start=0.0015, beta_end=0.0195)
    torch.testing.assert_close(getattr(SCHEDULE, ours)[1:].float(), getattr(monai, theirs), rtol=1e-4, atol=1e-7)


def test_step_0_is_the_clean_end():
    assert SCHEDULE.steps == 1000
    assert SCHEDULE.alpha_bar[0] == 1
    assert SCHEDULE.beta_tilde[1] == 0
    x_0, eps = draw(2)
    assert torch.equal(q_sample(SCHEDULE, x_0, 0, eps), x_0)


def test_many_forward_steps_have_the_mean_and_variance_of_one_jump():
    mean, variance = 1.0, 0.0
    for t in range(1, 301):
        mean *= float(SCHEDULE.alpha[t]) ** 0.5
        variance = float(SCHEDULE.alpha[t]) * variance + float(SCHEDULE.beta[t])
    one, zero = torch.ones(1, 1, 1, 1, dtype=torch.float64), torch.zeros(1, 1, 1, 1, dtype=torch.float64)
    assert float(q_sample(SCHEDULE, one, 300, zero)) == pytest.approx(mean)
    assert float(q_sample(SCHEDULE, zero, 300, one)) ** 2 == pytest.approx(variance)


@pytest.mark.parametrize(("s", "t"), [(0, 1), (2, 3), (100, 400), (0, 1000)])
def test_noise_added_again_from_a_level_leads_to_the_same_distribution_as_one_jump(s, t):
    one, zero = torch.ones(1, 1, 1, 1, dtype=torch.float64), torch.zeros(1, 1, 1, 1, dtype=torch.float64)
    mean = q_forward(SCHEDULE, q_sample(SCHEDULE, one, s, zero), s, t, zero)
    torch.testing.assert_close(mean, q_sample(SCHEDULE, one, t, zero))
    first = q_forward(SCHEDULE, q_sample(SCHEDULE, zero, s, one), s, t, zero)
    second = q_forward(SCHEDULE, zero, s, t, one)
    torch.testing.assert_close(first**2 + second**2, q_sample(SCHEDULE, zero, t, one) ** 2)


def test_a_step_for_each_image_is_the_step_of_that_image():
    x_0, eps = draw(2)
    both = q_sample(SCHEDULE, x_0, torch.tensor([7, 900]), eps)
    torch.testing.assert_close(both[0], q_sample(SCHEDULE, x_0, 7, eps)[0])
    torch.testing.assert_close(both[1], q_sample(SCHEDULE, x_0, 900, eps)[1])


@pytest.mark.parametrize("t", STEPS)
def test_the_posterior_is_bayes_rule_of_two_gaussians(t):
    """q(x_{t-1} | x_t, x_0) is proportional to q(x_t | x_{t-1}) q(x_{t-1} | x_0): precisions add."""
    x_0, x_t = draw(2)
    alpha, beta, before = SCHEDULE.alpha[t], SCHEDULE.beta[t], SCHEDULE.alpha_bar[t - 1]
    precision = alpha / beta + 1 / (1 - before)
    mean = (alpha.sqrt() / beta * x_t + before.sqrt() / (1 - before) * x_0) / precision
    torch.testing.assert_close(posterior_mean(SCHEDULE, x_0, x_t, t), mean)
    torch.testing.assert_close(SCHEDULE.beta_tilde[t], 1 / precision)


@pytest.mark.parametrize("t", [1, *STEPS])
def test_mu_theta_is_the_posterior_mean_where_the_network_knows_the_noise(t):
    x_0, eps, zero = draw(3)
    x_t = q_sample(SCHEDULE, x_0, t, eps)
    mu_theta = ddpm_step(SCHEDULE, x_t, t, eps, 0 * zero)
    torch.testing.assert_close(mu_theta, posterior_mean(SCHEDULE, x_0, x_t, t))


@pytest.mark.parametrize("t", [1, *STEPS])
def test_ddim_at_eta_1_is_the_ddpm_step(t):
    x_t, eps_theta, noise = draw(3)
    ddim = ddim_step(SCHEDULE, x_t, t, t - 1, eps_theta, eta=1.0, noise=noise)
    torch.testing.assert_close(ddim, ddpm_step(SCHEDULE, x_t, t, eps_theta, noise))


@pytest.mark.parametrize(("t", "s"), [(1000, 999), (500, 490), (500, 3), (7, 2), (1000, 0), (1, 0)])
def test_ddim_with_the_true_noise_lands_on_the_forward_process(t, s):
    x_0, eps = draw(2)
    x_s = ddim_step(SCHEDULE, q_sample(SCHEDULE, x_0, t, eps), t, s, eps)
    torch.testing.assert_close(x_s, q_sample(SCHEDULE, x_0, s, eps))


@pytest.mark.parametrize("t", [1, *STEPS])
def test_steps_are_monais_where_monai_steps_by_one(t):
    monai = {"schedule": "scaled_linear_beta", "beta_start": 0.0015, "beta_end": 0.0195, "clip_sample": False}
    x_t, eps_theta, zero = (x.float() for x in draw(3))
    scheduler = DDIMScheduler(1000, **monai)
    scheduler.set_timesteps(1000)
    theirs, x_0 = scheduler.step(eps_theta, t - 1, x_t)
    if t > 1:  # MONAI ends one step before x_0 by default
        torch.testing.assert_close(ddim_step(SCHEDULE, x_t, t, t - 1, eps_theta), theirs, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(predict_x_0(SCHEDULE, x_t, t, eps_theta), x_0, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(predict_eps(SCHEDULE, x_t, t, x_0), eps_theta, rtol=1e-3, atol=1e-3)
    ddpm = DDPMScheduler(1000, **monai)
    mean = ddpm._get_mean(t - 1, x_0, x_t)
    torch.testing.assert_close(ddpm_step(SCHEDULE, x_t, t, eps_theta, 0 * zero), mean, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("variance", ["beta_tilde", "beta"])
def test_the_ddpm_step_draws_with_the_stated_variance(variance):
    x_t, eps_theta, noise = draw(3)
    moved = ddpm_step(SCHEDULE, x_t, 300, eps_theta, noise, variance)
    drawn = moved - ddpm_step(SCHEDULE, x_t, 300, eps_theta, 0 * noise, variance)
    torch.testing.assert_close(drawn, getattr(SCHEDULE, variance)[300].sqrt() * noise)


@pytest.mark.parametrize("variance", ["beta_tilde", "beta"])
@pytest.mark.parametrize("t", STEPS)
def test_the_kl_term_is_the_divergence_of_the_two_gaussians(t, variance):
    x_0, eps, eps_theta, zero = draw(4)
    x_t = q_sample(SCHEDULE, x_0, t, eps)
    q = Normal(posterior_mean(SCHEDULE, x_0, x_t, t), SCHEDULE.beta_tilde[t].sqrt())
    p = Normal(ddpm_step(SCHEDULE, x_t, t, eps_theta, 0 * zero), getattr(SCHEDULE, variance)[t].sqrt())
    torch.testing.assert_close(kl_term(SCHEDULE, eps, eps_theta, t, variance), kl_divergence(q, p))


@given(low=st.integers(1, 500), width=st.integers(1, 600), n=st.integers(1, 700))
def test_spaced_steps_ascend_are_distinct_and_reach_both_ends(low, width, n):
    steps = spaced(low, low + width, n)
    assert len(steps) == min(n, width)
    assert steps == sorted(set(steps))
    assert steps[0] == low
    assert n == 1 or steps[-1] == low + width - 1
    gaps = {b - a for a, b in itertools.pairwise(steps)}
    assert not gaps or max(gaps) - min(gaps) <= 1


@given(start=st.integers(1, 1000), n=st.integers(1, 1200))
def test_a_descent_leads_from_its_start_to_0_without_a_gap(start, n):
    path = descent(start, n)
    assert len(path) == min(n, start)
    assert path[0][0] == start
    assert path[-1][1] == 0
    assert all(t > s for t, s in path)
    assert all(before[1] == after[0] for before, after in itertools.pairwise(path))
    strides = {t - s for t, s in path}
    assert max(strides) - min(strides) <= 1


def test_the_linear_and_the_cosine_schedule_are_monais_one_step_later():
    linear, cosine = Schedule.linear(1000, 1e-4, 0.02), Schedule.cosine(1000)
    theirs = DDPMScheduler(1000, "linear_beta", beta_start=1e-4, beta_end=0.02)
    torch.testing.assert_close(linear.alpha_bar[1:].float(), theirs.alphas_cumprod, rtol=1e-4, atol=1e-7)
    assert float(cosine.alpha_bar[500]) == pytest.approx(0.5, abs=0.01)
    assert float(cosine.beta.max()) == 0.999
    theirs = DDPMScheduler(1000, "cosine")
    torch.testing.assert_close(cosine.alpha_bar[1:999].float(), theirs.alphas_cumprod[:998], rtol=2e-3, atol=1e-5)
