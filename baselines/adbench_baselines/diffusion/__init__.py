"""Denoising diffusion on latents and on pixels: equations, noise, networks, KL maps, healing, bases of its methods."""
