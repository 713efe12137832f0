"""Tiny detectors on the latents of one VQ-VAE."""

from __future__ import annotations

from tiny_nets import DIFFUSION_SETTINGS, fitted


def detector(cls, runtime, **changes):
    return fitted(cls, {**DIFFUSION_SETTINGS, **changes}, runtime)
