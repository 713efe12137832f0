"""What kind of method a detector is, and what it knows beyond healthy images; knows neither torch nor a plugin."""

from __future__ import annotations

from typing import Literal, get_args

Family = Literal["reconstruction", "likelihood", "latent diffusion", "diffusion", "synthetic", "feature", "control"]
"""What anomalies are found by:

- reconstruction: the residual to what a network makes of the image in one pass, or repeatedly without noise;
- likelihood: how probable a model of sequences finds each code, and the residual to what it heals;
- latent diffusion, diffusion: a diffusion model on the latents of another network, or on pixels;
- synthetic: a network that was trained to find or to undo synthetic anomalies, whatever the network;
- feature: the distance of features to those of healthy images, or to their reconstruction;
- control: shows what a score means.
"""
Knowledge = Literal["nothing", "synthetic anomalies", "outside weights", "outside data"]
"""What a method knows beyond the healthy images that it is given."""

FAMILIES: tuple[str, ...] = get_args(Family)
KNOWLEDGE: tuple[str, ...] = get_args(Knowledge)
