"""`api fetch jwt` and `api validate jwt` (features F5, F6)."""

from __future__ import annotations

from google.protobuf.json_format import MessageToDict

from spire_py._proto import workload_pb2
from spire_py.cli.agent.workload import SERVICE, timeout_seconds, workload_command
from spire_py.cli.command import CommandFailed
from spire_py.cli.connection import Connection
from spire_py.cli.flags import Flag, Flags, Kind
from spire_py.cli.output import go_json, print_messages

_INVALID = "rpc error: code = InvalidArgument desc = "


async def _fetch(flags: Flags, agent: Connection) -> int:
    audience = flags.texts("audience")
    if not audience:
        raise CommandFailed("audience must be specified", prefix="")
    bundles = await _first_bundles(flags, agent)
    svids = await agent.call(
        f"{SERVICE}/FetchJWTSVID",
        workload_pb2.JWTSVIDRequest(audience=audience, spiffe_id=flags.text("spiffeID")),
        workload_pb2.JWTSVIDResponse,
        timeout=timeout_seconds(flags),
    )
    # `-format` is the older name of `-output`.
    form = flags.text("format" if flags.given("format") else "output")
    chosen = Flags(FETCH.flags, {"output": [form]})
    return print_messages(chosen, lambda: _print(svids, bundles), svids, bundles)


async def _first_bundles(flags: Flags, agent: Connection) -> workload_pb2.JWTBundlesResponse:
    try:
        return await agent.first(
            f"{SERVICE}/FetchJWTBundles",
            workload_pb2.JWTBundlesRequest(),
            workload_pb2.JWTBundlesResponse,
            timeout=timeout_seconds(flags),
        )
    except CommandFailed as error:
        if "connection error" in str(error):
            raise CommandFailed(f"failed to receive JWT bundles: {error}", prefix="") from error
        raise


def _print(svids: workload_pb2.JWTSVIDResponse, bundles: workload_pb2.JWTBundlesResponse) -> int:
    for svid in svids.svids:
        print(f"token({svid.spiffe_id}):\n\t{svid.svid}")
        if svid.hint:
            print(f"hint({svid.spiffe_id}):\n\t{svid.hint}")
    for name, jwks in sorted(bundles.bundles.items()):
        print(f"bundle({name}):\n\t{jwks.decode()}")
    return 0


async def _validate(flags: Flags, agent: Connection) -> int:
    for name in ("audience", "svid"):
        if not flags.text(name):
            raise CommandFailed(f"{name} must be specified", prefix="")
    try:
        response = await agent.call(
            f"{SERVICE}/ValidateJWTSVID",
            workload_pb2.ValidateJWTSVIDRequest(
                audience=flags.text("audience"), svid=flags.text("svid")
            ),
            workload_pb2.ValidateJWTSVIDResponse,
            timeout=timeout_seconds(flags),
        )
    except CommandFailed as error:
        reason = f"unable to validate JWT SVID: {error}"
        if str(error).startswith(_INVALID):
            reason = f"SVID is not valid: {str(error).removeprefix(_INVALID)}"
        raise CommandFailed(reason, prefix="") from error

    def pretty() -> int:
        print("SVID is valid.")
        print(f"SPIFFE ID : {response.spiffe_id}")
        print(f"Claims    : {go_json(MessageToDict(response.claims))}")
        return 0

    return print_messages(flags, pretty, response)


FETCH = workload_command(
    "fetch jwt",
    "Fetches a JWT SVID from the Workload API",
    (
        Flag("audience", "Audience values, with commas between", Kind.COMMA_TEXTS),
        Flag("spiffeID", "SPIFFE ID of the subject; all identities where left out"),
        Flag("format", "Older name of -output", Kind.OUTPUT),
    ),
    _fetch,
)
VALIDATE = workload_command(
    "validate jwt",
    "Validates a JWT SVID",
    (Flag("audience", "Expected audience value"), Flag("svid", "The JWT-SVID")),
    _validate,
)
