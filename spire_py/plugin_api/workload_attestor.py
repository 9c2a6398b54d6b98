"""WorkloadAttestor: what is known of a local process."""

from __future__ import annotations

from abc import ABC, abstractmethod

from spire_py.model.selector import Selector
from spire_py.plugin_api.plugin import Plugin


class WorkloadAttestor(Plugin, ABC):
    """Finds the selectors of a process of this host."""

    @abstractmethod
    async def attest(self, pid: int) -> tuple[Selector, ...]:
        """The selectors of process `pid`; none where this attestor does not know it.

        The caller makes sure afterwards that the process is still the same one.

        Raises:
            SpireError: the facts could not be had; other attestors still count (feature J17).
        """
