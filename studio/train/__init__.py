"""Training of the pocket models on scenes that are rendered as they are needed; loaded by `python -m studio.train`."""
