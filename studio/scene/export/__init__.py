"""Cameras and mesh as the files that other programs open: one module a format, `folder` for all of them at once."""
