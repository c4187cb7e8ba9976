"""``python -m studio train``: the words that follow go to ``python -m studio.train`` as they are."""

from __future__ import annotations

import typer

AS_THEY_ARE = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
"""Of the command: none of its words are typer's."""


def train(context: typer.Context) -> None:
    """Trains the pocket models (vae, clip, svd, sv3d, sdxl), or checks them; `train --help` says how."""
    from studio.train.__main__ import main  # torch takes seconds to import

    raise typer.Exit(main(context.args))
