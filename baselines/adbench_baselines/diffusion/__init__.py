"""Denoising diffusion on latents: equations, network, KL maps, healing, and the bases of its methods."""
