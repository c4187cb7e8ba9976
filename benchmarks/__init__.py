"""Measurements of the studio: ``python -m benchmarks NAME``. Each module with a `run` is one benchmark.

A benchmark's docstring is its help, `add_arguments(parser)` declares its options and `run(args)` returns its figures
as plain JSON. What the machine is, which versions ran and when is added here; nothing in this package is needed to
use the studio.
"""
