"""The variants that the studio knows, in the order in which they are offered."""

from __future__ import annotations

from pathlib import Path

from studio.errors import BadInput
from studio.models.spec import VariantSpec, read_spec


class Catalog:
    """All variants of the given folders. A later folder may add variants, or replace one by its id.

    Args:
        folders: directories of `<id>.yaml`; those that do not exist are passed over.
    """

    def __init__(self, *folders: Path) -> None:
        found: dict[str, VariantSpec] = {}
        for folder in folders:
            for path in sorted(folder.glob("*.yaml"), key=lambda p: p.name.removesuffix(".yaml")):
                spec = read_spec(path)
                found[spec.id] = spec
        self._specs = found

    def __iter__(self):
        return iter(self._specs.values())

    def __len__(self) -> int:
        return len(self._specs)

    def get(self, variant: str, *, field: str = "variant") -> VariantSpec:
        """The variant of this id.

        Args:
            field: of the request that names it, for the complaint.

        Raises:
            BadInput: there is none; names the ones there are.
        """
        try:
            return self._specs[variant]
        except KeyError:
            known = ", ".join(s.id for s in self if s.capabilities)
            raise BadInput(f"{field}: {variant!r} is not known; there are {known}.", field=field) from None

    def able(self, *capabilities: str) -> list[VariantSpec]:
        """The variants that can do one of these."""
        return [s for s in self if any(c in s.capabilities for c in capabilities)]
