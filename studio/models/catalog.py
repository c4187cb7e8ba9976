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

    def get(self, variant: str) -> VariantSpec:
        """The variant of this id.

        Raises:
            BadInput: there is none; names the ones there are.
        """
        try:
            return self._specs[variant]
        except KeyError:
            known = ", ".join(self._specs)
            raise BadInput(f"variant: {variant!r} is not known; there are {known}.", field="variant") from None

    def able(self, capability: str) -> list[VariantSpec]:
        """The variants that can do this."""
        return [s for s in self if capability in s.capabilities]
