"""What plugins of all types have in common."""

from __future__ import annotations

from collections.abc import Sequence


class Plugin:
    """A base of the abstract class of each type."""

    async def check_surroundings(self) -> Sequence[str]:
        """What is missing around the plugin, such as a right, a mount or a flag of another program.

        One sentence each. They stand in the daemon's log and in what it answers about its
        readiness, to anyone: no secrets. Asked once the plugin is open, and, as long as something
        is missing, again after growing waits. Nothing waits for the answer.

        Raises:
            SpireError: it cannot be found out; counts as a sentence.
        """
        return ()

    async def aclose(self) -> None:
        """Give up what is held open."""
