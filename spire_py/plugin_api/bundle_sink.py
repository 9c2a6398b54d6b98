"""Notifier and BundlePublisher: where the trust domain's own bundle is made known.

SPIRE has two plugin types for one thing, which differ only in their settings.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from spire_py.plugin_api.plugin import Plugin
from spire_py.spiffe.bundle import Bundle

LoadBundle: TypeAlias = Callable[[], Awaitable[Bundle]]
"""Gives the bundle as it is now, for all servers; raises a `SpireError` where it cannot be had."""


class BundleTarget(ABC):
    """One place that has a copy of the bundle, such as a ConfigMap of a cluster."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What and where it is, for log lines."""

    @abstractmethod
    async def publish(self, load: LoadBundle) -> bool:
        """Make the copy right, and say whether anything had to be written.

        The server calls it at the start, whenever the bundle or the copy has changed, now and then
        all the same, and again after a failure; one call at a time.

        Args:
            load: the bundle; where the place has versions, to be called after its version is read,
                so that a server that is late does not replace a newer bundle by an older one.

        Raises:
            SpireError: it cannot be done now.
        """

    async def wait_for_change(self) -> None:
        """Return once the copy is not what `publish` made of it any more.

        Where it never returns, as by default, the copy is looked at now and then.

        Raises:
            SpireError: changes cannot be noticed now.
        """
        await asyncio.Event().wait()


class BundleSink(Plugin, ABC):
    """The places of one plugin. They are kept right independently of each other."""

    @property
    @abstractmethod
    def targets(self) -> Sequence[BundleTarget]:
        """Always the same ones."""
