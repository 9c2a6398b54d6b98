"""One attestation: what an attestor asks of an agent, as steps of a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

from spire_py.errors import DeadlineExceeded, Internal, InvalidArgument, SpireError
from spire_py.plugin_api.node_attestor import NodeAttestation, ServerNodeAttestor

MAX_PAYLOAD_BYTES = 512 * 1024
"""The longest payload or challenge response; the largest known ones are some 20 KB."""

_MAX_CHALLENGES = 16


class Dialogue:
    """Runs an attestor beside the stream of the call that it serves.

    Args:
        attestor: the server's end of the attestation.
        receive: waits for the agent's next challenge response.
        timeout_seconds: for all of it.
        client_ip: where the call comes from; empty for a Unix socket.
    """

    def __init__(
        self,
        *,
        attestor: ServerNodeAttestor,
        receive: Callable[[], Awaitable[bytes]],
        timeout_seconds: float,
        client_ip: str = "",
    ) -> None:
        self._attestor = attestor
        self._receive = receive
        self._timeout_seconds = timeout_seconds
        self._client_ip = client_ip
        self._challenges = 0
        self._steps: asyncio.Queue[bytes | NodeAttestation | SpireError | None] = asyncio.Queue()

    async def steps(self, payload: bytes) -> AsyncGenerator[bytes | NodeAttestation, None]:
        """Each challenge to be sent, then what was found out.

        Raises:
            SpireError: the attestor's refusal, with its code and words.
            DeadlineExceeded: it took too long.
        """
        # No TaskGroup: one around a `yield` turns the end of an abandoned stream into an error.
        attestation = asyncio.create_task(self._attest(payload), name="attest")
        try:
            while True:
                step = await self._steps.get()
                if step is None:
                    # The attestor broke: its bug is the stream's.
                    await attestation
                    return
                if isinstance(step, SpireError):
                    raise step
                yield step
                if isinstance(step, NodeAttestation):
                    return
        finally:
            if not attestation.done():
                attestation.cancel()
                await asyncio.wait((attestation,))

    async def _attest(self, payload: bytes) -> None:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._attestor.check_address(payload, self._client_ip)
                step: NodeAttestation | SpireError = await self._attestor.attest(
                    payload, self._challenge
                )
        except SpireError as error:
            step = error
        except TimeoutError:
            step = DeadlineExceeded("attestation took too long")
        except BaseException:
            self._steps.put_nowait(None)
            raise
        self._steps.put_nowait(step)

    async def _challenge(self, challenge: bytes) -> bytes:
        self._challenges += 1
        if self._challenges > _MAX_CHALLENGES:
            raise Internal("too many challenges")
        await self._steps.put(challenge)
        response = await self._receive()
        if len(response) > MAX_PAYLOAD_BYTES:
            raise InvalidArgument("challenge response is too large")
        return response
