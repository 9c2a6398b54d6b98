from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from shutil import rmtree

import pytest
from jeepney import Parser, new_method_return
from spire_py_plugins.workload_attestor import systemd as plugin
from spire_py_plugins.workload_attestor.systemd.attestor import SystemdWorkloadAttestor
from spire_py_plugins.workload_attestor.unix import UnixWorkloadAttestor

from spire_py.agent.workload_attestation import WorkloadAttestation
from spire_py.errors import Internal, InvalidArgument
from spire_py.plugin_api.context import PluginContext
from spire_py.spiffe.id import TrustDomain
from tests.fakes.systemd import FakeSystemd, systemd_bus

PID = 7
UNIT = ("nginx.service", "/lib/systemd/system/nginx.service")
SELECTORS = [
    "systemd:id:nginx.service",
    "systemd:fragment_path:/lib/systemd/system/nginx.service",
]
Connected = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

needs_bus = pytest.mark.peer("dbus-daemon")


@pytest.fixture
def folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="sp"))
    yield folder
    rmtree(folder)


@pytest.fixture
def systemd(
    folder: Path, require_peer: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[FakeSystemd]:
    with systemd_bus(require_peer("dbus-daemon"), folder) as (bus, systemd):
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)
        systemd.units[PID] = UNIT
        yield systemd


@pytest.fixture
async def attestor() -> AsyncIterator[SystemdWorkloadAttestor]:
    attestor = plugin.configure({}, PluginContext(TrustDomain("example.org")))
    yield attestor
    await attestor.aclose()


async def attest(attestor: SystemdWorkloadAttestor, pid: int = PID) -> list[str]:
    return [str(selector) for selector in await attestor.attest(pid)]


async def refusal(attestor: SystemdWorkloadAttestor, pid: int = PID) -> str:
    with pytest.raises(Internal) as refused:
        await attestor.attest(pid)
    return refused.value.message


@needs_bus
async def test_a_process_has_its_units_selectors(
    systemd: FakeSystemd, attestor: SystemdWorkloadAttestor
) -> None:
    systemd.units[8] = ("user.slice", "")
    assert await attest(attestor) == SELECTORS
    assert await attest(attestor, 8) == ["systemd:id:user.slice", "systemd:fragment_path:"]


@needs_bus
async def test_a_systemd_that_knows_itself_lacks_nothing(
    systemd: FakeSystemd, attestor: SystemdWorkloadAttestor
) -> None:
    (told,) = await attestor.check_surroundings()
    assert told.startswith("failed to get unit by pid 1: ")
    systemd.units[1] = ("init.scope", "")
    assert await attestor.check_surroundings() == ()


@needs_bus
async def test_a_process_without_a_unit_is_an_error(
    systemd: FakeSystemd, attestor: SystemdWorkloadAttestor
) -> None:
    assert await refusal(attestor, 9) == (
        "failed to get unit by pid 9: PID 9 does not belong to any loaded unit."
    )


@pytest.mark.parametrize("pid", [0, -1, 2**31])
async def test_what_is_no_pid_is_not_asked_for(attestor: SystemdWorkloadAttestor, pid: int) -> None:
    # To systemd, 0 is the one who asks.
    assert await refusal(attestor, pid) == f"invalid value for PID: {pid}"


@needs_bus
async def test_all_callers_share_one_connection(
    systemd: FakeSystemd, attestor: SystemdWorkloadAttestor
) -> None:
    # The bus lets a connection wait for 64 answers, half of what that of a system does.
    systemd.hold = 64
    systemd.units = {pid: (f"{pid}.service", f"/run/{pid}") for pid in range(1, 301)}
    found = await asyncio.gather(*(attest(attestor, pid) for pid in systemd.units))
    assert found == [
        [f"systemd:id:{name}", f"systemd:fragment_path:{path}"]
        for name, path in systemd.units.values()
    ]
    assert len(set(systemd.callers)) == 1


@needs_bus
async def test_a_bus_that_starts_anew_is_found_again(
    systemd: FakeSystemd, attestor: SystemdWorkloadAttestor
) -> None:
    assert await attest(attestor) == SELECTORS
    await asyncio.to_thread(systemd.restart)
    assert await attest(attestor) == SELECTORS


@needs_bus
async def test_a_bus_without_systemd_is_an_error(
    systemd: FakeSystemd, attestor: SystemdWorkloadAttestor
) -> None:
    systemd.release_name()
    assert await refusal(attestor) == (
        f"failed to get unit by pid {PID}: The name org.freedesktop.systemd1 was not provided "
        "by any .service files"
    )


async def test_without_a_bus_there_is_an_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch, attestor: SystemdWorkloadAttestor
) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={folder}/none")
    assert await refusal(attestor) == (
        f"failed to open dbus connection: {folder}/none: No such file or directory"
    )


@pytest.mark.parametrize("address", ["nonsense", "tcp:host=127.0.0.1,port=1", "unix:path", ";"])
async def test_an_address_without_a_unix_socket_is_an_error(
    monkeypatch: pytest.MonkeyPatch, attestor: SystemdWorkloadAttestor, address: str
) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
    assert await refusal(attestor) == (
        f"failed to open dbus connection: {address!r} names no Unix socket of a bus"
    )


@needs_bus
async def test_the_first_address_that_works_counts(
    systemd: FakeSystemd,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    attestor: SystemdWorkloadAttestor,
) -> None:
    addresses = f"unix:path={folder}/none;{os.environ['DBUS_SYSTEM_BUS_ADDRESS']}"
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", addresses)
    assert await attest(attestor) == SELECTORS


async def test_a_socket_may_have_an_abstract_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch, attestor: SystemdWorkloadAttestor
) -> None:
    name = folder.name
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:abstract={name}")
    assert f"@{name}: Connection refused" in await refusal(attestor)

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_unix_server(refuse, f"\0{name}"):
        assert f"@{name}: the connection to the bus was lost" in await refusal(attestor)


@needs_bus
async def test_a_silent_systemd_costs_only_this_attestor_its_time(systemd: FakeSystemd) -> None:
    systemd.silent = True
    attestor = SystemdWorkloadAttestor(seconds=0.05)
    attestation = WorkloadAttestation({"systemd": attestor, "unix": UnixWorkloadAttestor()})
    pid = os.getpid()
    selectors, failures = await attestation.examine(pid)
    assert f"unix:uid:{os.geteuid()}" in map(str, selectors)
    assert {name: str(error) for name, error in failures.items()} == {
        "systemd": f"failed to get unit by pid {pid}: no answer within 0.05 s"
    }
    await attestor.aclose()


@needs_bus
async def test_a_call_that_was_given_up_leaves_the_others_alone(
    systemd: FakeSystemd, attestor: SystemdWorkloadAttestor
) -> None:
    assert await attest(attestor) == SELECTORS
    systemd.silent = True
    given_up, waiting = (asyncio.create_task(attest(attestor)) for _ in range(2))
    while len(systemd.callers) < 3:
        await asyncio.to_thread(systemd.asked.wait, 10)
        systemd.asked.clear()
    given_up.cancel()
    await asyncio.gather(given_up, return_exceptions=True)
    systemd.silent = False
    assert await attest(attestor) == SELECTORS
    assert len(set(systemd.callers)) == 2
    assert not waiting.done()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


@needs_bus
@pytest.mark.parametrize(
    ("signature", "body", "reason"),
    [
        ("s", ("/x",), "the answer is of type 's', not 'o'"),
        ("oo", ("/x", "/x"), "the answer is of type 'oo', not 'o'"),
        ("", (), "the answer is of type '', not 'o'"),
        ("s", ("x" * 2**20,), "the answer is longer than 65536 bytes"),
        ("o", ("/" + "x" * 2**20,), "the answer is longer than 65536 bytes"),
    ],
    ids=["a string", "two paths", "nothing", "long string", "long path"],
)
async def test_what_is_no_unit_is_refused(
    systemd: FakeSystemd,
    attestor: SystemdWorkloadAttestor,
    signature: str,
    body: tuple[str, ...],
    reason: str,
) -> None:
    systemd.unit_answer = (signature, body)
    assert await refusal(attestor) == f"failed to get unit by pid {PID}: {reason}"
    systemd.unit_answer = None
    assert await attest(attestor) == SELECTORS
    assert len(set(systemd.callers)) == 1


@needs_bus
@pytest.mark.parametrize("name", ["Id", "FragmentPath"])
@pytest.mark.parametrize(
    ("signature", "value", "reason"),
    [
        ("u", 7, "a value of type 'u' was not a string"),
        ("as", ["nginx.service"], "a value of type 'as' was not a string"),
        ("v", ("s", "nginx.service"), "a value of type 'v' was not a string"),
        ("s", "x" * 5000, "a value of 5000 characters is none that systemd gives"),
        ("s", "x" * 2**20, "the answer is longer than 65536 bytes"),
    ],
    ids=["a number", "a list", "a variant", "too long", "far too long"],
)
async def test_a_property_that_is_no_short_string_is_refused(
    systemd: FakeSystemd,
    attestor: SystemdWorkloadAttestor,
    name: str,
    signature: str,
    value: object,
    reason: str,
) -> None:
    systemd.properties[name] = (signature, value)
    assert await refusal(attestor) == f"error getting value for {name}: {reason}"


@needs_bus
async def test_a_unit_that_is_gone_is_an_error(
    systemd: FakeSystemd, attestor: SystemdWorkloadAttestor
) -> None:
    systemd.unit_answer = ("o", ("/org/freedesktop/systemd1/unit/_9",))
    assert await refusal(attestor) == "error getting value for Id: Unknown object of 9."


@needs_bus
async def test_signals_of_others_do_no_harm(
    systemd: FakeSystemd, attestor: SystemdWorkloadAttestor
) -> None:
    assert await attest(attestor) == SELECTORS
    for size in (1, 2**16, 2**23):
        await asyncio.to_thread(systemd.signal, systemd.callers[0], "x" * size)
    assert await attest(attestor) == SELECTORS
    assert len(set(systemd.callers)) == 1


@asynccontextmanager
async def bus_by_hand(
    folder: Path, monkeypatch: pytest.MonkeyPatch, connected: Connected
) -> AsyncIterator[None]:
    """A bus that does what the test says."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await connected(reader, writer)
        except (EOFError, ConnectionError):
            """The attestor has gone."""
        finally:
            writer.close()

    server = await asyncio.start_unix_server(serve, folder / "bus")
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={folder}/bus")
    async with server:
        yield


async def test_a_bus_that_says_nothing_costs_this_attestor_its_time(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    attestor = SystemdWorkloadAttestor(seconds=0.05)
    async with bus_by_hand(folder, monkeypatch, listen):
        found = await asyncio.gather(*(refusal(attestor) for _ in range(100)))
    assert set(found) == {f"failed to get unit by pid {PID}: no answer within 0.05 s"}


@pytest.mark.parametrize(
    ("greeting", "reason"),
    [
        (b"REJECTED EXTERNAL\r\n", "the bus refuses to authenticate us"),
        (b"x" * 100_000, "the bus refuses to authenticate us"),
        (b"", "the connection to the bus was lost"),
    ],
    ids=["refused", "nonsense", "nothing"],
)
async def test_a_bus_that_does_not_want_us_is_an_error(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    attestor: SystemdWorkloadAttestor,
    greeting: bytes,
    reason: str,
) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n")
        writer.write(greeting)
        await writer.drain()

    async with bus_by_hand(folder, monkeypatch, greet):
        assert await refusal(attestor) == f"failed to open dbus connection: {folder}/bus: {reason}"


async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """What a bus does at the start of each connection."""
    await reader.readuntil(b"\r\n")
    writer.write(b"OK 82727169419b0f53be3f98ff6b04214d\r\n")
    await reader.readuntil(b"BEGIN\r\n")
    parser = Parser()
    while (hello := parser.get_next_message()) is None:
        parser.add_data(await reader.readexactly(1))
    writer.write(new_method_return(hello, "s", (":1.1",)).serialise(1))


async def test_a_bus_that_talks_nonsense_is_an_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch, attestor: SystemdWorkloadAttestor
) -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accept(reader, writer)
        await reader.read(1)
        writer.write(b"x" * 16)
        await reader.read()

    async with bus_by_hand(folder, monkeypatch, babble):
        assert await refusal(attestor) == (
            f"failed to get unit by pid {PID}: the bus sent what is no D-Bus message"
        )


async def test_a_connection_that_is_lost_while_asking_is_made_anew_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, attestor: SystemdWorkloadAttestor
) -> None:
    connections = 0

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await accept(reader, writer)
        parser = Parser()
        answers = 3 if connections == 1 else 0
        while data := await reader.read(4096):
            parser.add_data(data)
            while (call := parser.get_next_message()) is not None:
                if not answers:
                    return
                answers -= 1
                answer = ("v", (("s", "x"),)) if answers < 2 else ("o", ("/x",))
                writer.write(new_method_return(call, *answer).serialise(9))

    async with bus_by_hand(folder, monkeypatch, hang_up):
        assert await attest(attestor) == ["systemd:id:x", "systemd:fragment_path:x"]
        assert await refusal(attestor) == (
            f"failed to get unit by pid {PID}: the connection to the bus was lost"
        )
    assert connections == 2


def test_the_library_is_loaded_only_where_the_plugin_is_used() -> None:
    program = (
        "import sys, spire_py_plugins.workload_attestor.systemd; print('jeepney' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout == b"False\n"


def test_there_are_no_settings() -> None:
    with pytest.raises(InvalidArgument) as refused:
        plugin.configure({"socket": "x"}, PluginContext(TrustDomain("example.org")))
    assert refused.value.message == ("no supported configuration interface found: remove socket")
