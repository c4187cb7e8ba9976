"""SVD Studio: short clips from a picture or a sentence with the Stable Video Diffusion family."""

__version__ = "0.1.0"
