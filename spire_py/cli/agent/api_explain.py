"""`api explain`: why a process has the identities it has, or none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from spire_py._proto.spire.api import types_pb2
from spire_py._proto.spire_py import explain_pb2
from spire_py.cli.agent.workload import timeout_seconds, workload_command
from spire_py.cli.command import CommandFailed
from spire_py.cli.connection import Connection
from spire_py.cli.flags import Flag, Flags, Kind
from spire_py.cli.output import print_messages

_METHOD = "/spire_py.explain.v1.Explain/ExplainWorkload"
_MAX_PID = 2**31 - 1
_Response = explain_pb2.ExplainWorkloadResponse


async def _explain(flags: Flags, agent: Connection) -> int:
    pid = flags.number("pid")
    if not 0 <= pid <= _MAX_PID:
        raise CommandFailed("-pid must be the ID of a process", prefix="")
    response = await agent.call(
        _METHOD,
        explain_pb2.ExplainWorkloadRequest(pid=pid),
        _Response,
        timeout=timeout_seconds(flags),
    )
    return print_messages(flags, lambda: _print(response), response)


def _print(response: _Response) -> int:
    print("\n".join(explanation(response)))
    return 0


def explanation(response: _Response) -> Iterator[str]:
    """The lines of an answer: what was found, what came close, and what to do next."""
    yield f"Process {response.pid} has these selectors:"
    yield from (f"  {_text(item)}" for item in response.selectors)
    if not response.selectors:
        yield "  (none)"
    for failure in response.failed_attestors:
        yield f"The workload attestor {failure.name} failed: {failure.error}"
    matches = [item for item in response.candidates if not item.missing]
    others = [item for item in response.candidates if item.missing]
    yield ""
    if matches:
        yield f"It gets {_count(len(matches), 'identity', 'identities')}:"
        for item in matches:
            state = "" if item.has_x509_svid else " (its X.509-SVID is not signed yet)"
            yield f"  {item.spiffe_id} by entry {item.entry_id}{state}"
        return
    yield "It gets no identity: no entry's selectors are all among these."
    yield from _nearest(others)
    yield ""
    yield from _advice(response, others)


def _nearest(others: Iterable[_Response.Candidate]) -> Iterator[str]:
    for item in others:
        yield f"  {item.spiffe_id} by entry {item.entry_id} wants also {_join(item.missing)}"


def _advice(response: _Response, others: list[_Response.Candidate]) -> Iterator[str]:
    if not response.entries_count:
        yield "This agent is entitled to no entries at all. An entry's parent ID must be the ID of"
        yield "this agent, or of a node alias whose selectors the agent has: see `agent show`."
    elif response.failed_attestors:
        yield "Mend the attestor that failed first: its selectors are missing above."
    elif others:
        yield "Change the workload, or make an entry with selectors that it has, such as:"
        yield f"  {_suggestion(response)}"
    if not response.last_sync_success:
        yield "The agent has heard nothing from its server yet."


def _suggestion(response: _Response) -> str:
    selectors = " ".join(f"-selector {_text(item)}" for item in response.selectors[:1])
    return f"entry create -parentID <this node> -spiffeID <new ID> {selectors}"


def _join(selectors: Iterable[types_pb2.Selector]) -> str:
    return ", ".join(_text(item) for item in selectors)


def _text(selector: types_pb2.Selector) -> str:
    return f"{selector.type}:{selector.value}"


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


EXPLAIN = workload_command(
    "explain",
    "Explains which identities a process gets, and why",
    (Flag("pid", "Process to explain; 0 is this command itself", Kind.NUMBER, default="0"),),
    _explain,
)
