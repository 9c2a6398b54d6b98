"""Who is calling: the selectors of the process at the other end of the socket (J17, H19)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from datetime import timedelta

from spire_py.errors import Internal, SpireError, Unauthenticated, Unavailable
from spire_py.model.selector import Selector
from spire_py.plugin_api.workload_attestor import WorkloadAttestor
from spire_py.telemetry.logs import LogLevel, get_logger
from spire_py.telemetry.repeated import RepeatedFailures
from spire_py.transport.peer import UnixPeer, check_process

log = get_logger("workload_attestor")

MAX_DURATION = timedelta(seconds=60)
"""The longest an attestation takes: kubelet is asked for half a minute."""

_UNSEEN = "Caller cannot be attested: the agent's pod needs hostPID: true"


class WorkloadAttestation:
    """Asks all attestors at once. One that fails is logged; the others' selectors count.

    Args:
        attestors: by name, as in the config.
    """

    def __init__(
        self,
        attestors: Mapping[str, WorkloadAttestor],
        *,
        max_duration: timedelta = MAX_DURATION,
    ) -> None:
        self._attestors = attestors
        self._unseen = RepeatedFailures(log)
        self._max_duration_seconds = max_duration.total_seconds()

    async def attest(self, peer: UnixPeer) -> frozenset[Selector]:
        """The selectors of the process that connected.

        The facts are read from `/proc/<pid>`, and count only if the pid was that process's before
        and after.

        Raises:
            Unauthenticated: the process ended, or is not its user's own.
            Unavailable: all attestors failed.
        """
        if not peer.pid:
            # The kernel has no number for a process that our PID namespace does not hold.
            self._unseen.failed(_UNSEEN, Unauthenticated("caller's process has no pid here"))
        _check(peer)
        selectors = await self.attest_pid(peer.pid)
        _check(peer)
        return selectors

    async def attest_pid(self, pid: int) -> frozenset[Selector]:
        """The selectors of a process whose pid the caller vouches for.

        Raises:
            Unavailable: all attestors failed.
        """
        selectors, failures = await self.examine(pid)
        for name, error in failures.items():
            sentence = f'workload attestor "{name}" failed'
            log.error(sentence, pid=pid, error=str(error))
        if failures and len(failures) == len(self._attestors):
            raise Unavailable("workload attestation failed")
        if log.enabled(LogLevel.DEBUG) and pid != os.getpid():
            log.debug(
                "PID attested to have selectors", pid=pid, selectors=sorted(map(str, selectors))
            )
        return selectors

    async def examine(self, pid: int) -> tuple[frozenset[Selector], Mapping[str, SpireError]]:
        """The selectors of a process, and the attestors that failed, by name."""
        selectors: set[Selector] = set()
        failures: dict[str, SpireError] = {}
        for name, outcome in (await self._ask_all(pid)).items():
            if isinstance(outcome, SpireError):
                failures[name] = outcome
            else:
                selectors.update(outcome)
        return frozenset(selectors), failures

    async def _ask_all(self, pid: int) -> Mapping[str, tuple[Selector, ...] | SpireError]:
        if len(self._attestors) == 1:
            [(name, attestor)] = self._attestors.items()
            return {name: await self._ask(attestor, pid)}
        async with asyncio.TaskGroup() as tasks:
            asked = {
                name: tasks.create_task(self._ask(attestor, pid), name=f"attestor {name}")
                for name, attestor in self._attestors.items()
            }
        return {name: task.result() for name, task in asked.items()}

    async def _ask(self, attestor: WorkloadAttestor, pid: int) -> tuple[Selector, ...] | SpireError:
        try:
            async with asyncio.timeout(self._max_duration_seconds):
                return await attestor.attest(pid)
        except SpireError as error:
            return error
        except TimeoutError:
            return Unavailable("attestor took too long")
        except Exception as error:
            # A plugin's fault, and anybody may write plugins: the others know nothing of it.
            log.exception("attestor_has_a_fault", error=str(error))
            return Internal(f"attestor has a fault: {type(error).__name__}")


def _check(peer: UnixPeer) -> None:
    try:
        check_process(peer)
    except SpireError as error:
        message = f"could not verify existence of the original caller: {error.message}"
        raise Unauthenticated(message) from error
