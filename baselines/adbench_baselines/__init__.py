"""First-party detectors of adbench: one module a method, shared networks and diffusion steps beside them."""
