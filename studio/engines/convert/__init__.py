"""Single-file checkpoints in Stability's layout ("sgm"): key tables to diffusers' names, and what loads by them.

- `table`: what a key table is; `unet`, `vae`, `clip`: one table a family, with the sizes that its tensors tell;
- `parts`: which table, class and config each component of a recognised file takes;
- `load`: streams a component from the file to its place; `folder`: streams a file into a diffusers folder.
"""
