"""A message bus of our own, by the real `dbus-daemon`, with a stand-in for systemd on it."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from jeepney import DBusAddress, new_error, new_method_return, new_signal
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import DBusConnection, open_dbus_connection
from jeepney.low_level import HeaderFields, Message, MessageType

SERVICE = "org.freedesktop.systemd1"
_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <listen>{address}</listen>
  <auth>EXTERNAL</auth>
  <limit name="max_replies_per_connection">64</limit>
  <policy context="default">
    <allow user="*"/><allow own="*"/>
    <allow send_type="method_call"/><allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/><allow receive_type="method_return"/>
    <allow receive_type="error"/><allow receive_type="signal"/>
  </policy>
</busconfig>
"""


class Bus:
    """The daemon. `address` is for `DBUS_SYSTEM_BUS_ADDRESS`."""

    def __init__(self, program: Path, folder: Path) -> None:
        self.address = f"unix:path={folder}/bus"
        self._config = folder / "bus.conf"
        self._config.write_text(_CONFIG.format(address=self.address))
        self._program = program
        self.start()

    def start(self) -> None:
        self._daemon = subprocess.Popen(
            [self._program, f"--config-file={self._config}", "--nofork", "--print-address=1"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
        )
        assert self._daemon.stdout is not None
        assert self._daemon.stdout.readline().startswith(b"unix:")

    def stop(self) -> None:
        with self._daemon:
            self._daemon.kill()


class FakeSystemd:
    """Answers from a thread of its own, until the bus ends.

    Attributes:
        units: ID and file of the unit of each pid.
        other_pids: the same for any other pid.
        unit_answer: types and values that GetUnitByPID answers instead.
        properties: types and values of properties, instead of those of the unit.
        silent: whether no call is answered.
        hold: how many must have asked for a unit before any is answered.
        callers: who asked for a unit, by their names on the bus.
        asked: set at each such question.
    """

    def __init__(self, bus: Bus) -> None:
        self.units: dict[int, tuple[str, str]] = {}
        self.other_pids: tuple[str, str] | None = None
        self.unit_answer: tuple[str, tuple[Any, ...]] | None = None
        self.properties: dict[str, tuple[str, Any]] = {}
        self.silent = False
        self.hold = 0
        self._held: list[Message] = []
        self.callers: list[str] = []
        self.asked = threading.Event()
        self._bus = bus

    def __enter__(self) -> Self:
        self.join_bus()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bus.stop()
        self._thread.join()

    def join_bus(self) -> None:
        self._connection = open_dbus_connection(self._bus.address)
        self._connection.send_and_get_reply(message_bus.RequestName(SERVICE), timeout=20)
        self._thread = threading.Thread(target=self._serve, args=(self._connection,))
        self._thread.start()

    def restart(self) -> None:
        """End the bus, and start it and the service anew."""
        self._bus.stop()
        self._thread.join()
        self._bus.start()
        self.join_bus()

    def release_name(self) -> None:
        """Be on the bus no longer, as far as others can tell."""
        self._connection.send(message_bus.ReleaseName(SERVICE))
        # The bus handles one connection's messages in order; another's answer shows it did.
        with open_dbus_connection(self._bus.address) as other:
            while other.send_and_get_reply(message_bus.NameHasOwner(SERVICE)).body[0]:
                """Until it is gone."""

    def signal(self, destination: str, body: str) -> None:
        """Send a signal, as any process may."""
        with open_dbus_connection(self._bus.address) as sender:
            message = new_signal(DBusAddress("/x", interface="a.b"), "C", "s", (body,))
            message.header.fields[HeaderFields.destination] = destination
            sender.send(message)

    def _serve(self, connection: DBusConnection) -> None:
        with connection:
            try:
                while True:
                    message = connection.receive()
                    if message.header.message_type is not MessageType.method_call:
                        continue
                    for answer in self._answers(message):
                        connection.send(answer)
            except (EOFError, ConnectionError):
                """The bus has ended."""

    def _answers(self, message: Message) -> Iterator[Message]:
        fields = message.header.fields
        if fields[HeaderFields.member] == "GetUnitByPID":
            self.callers.append(fields[HeaderFields.sender])
            self.asked.set()
            if not self.silent:
                self._held.append(message)
            if len(self.callers) >= self.hold:
                yield from map(self._unit, self._held)
                self._held = []
        elif fields[HeaderFields.member] == "Get":
            yield self._property(message)

    def _unit(self, message: Message) -> Message:
        (pid,) = message.body
        if self.unit_answer:
            return new_method_return(message, *self.unit_answer)
        if not self._unit_of(pid):
            text = f"PID {pid} does not belong to any loaded unit."
            return new_error(message, f"{SERVICE}.NoUnitForPID", "s", (text,))
        return new_method_return(message, "o", (f"/org/freedesktop/systemd1/unit/_{pid}",))

    def _property(self, message: Message) -> Message:
        interface, name = message.body
        assert interface == f"{SERVICE}.Unit"
        pid = int(message.header.fields[HeaderFields.path].rpartition("_")[2])
        unit = self._unit_of(pid)
        if not unit:
            error = "org.freedesktop.DBus.Error.UnknownObject"
            return new_error(message, error, "s", (f"Unknown object of {pid}.",))
        value = ("s", unit[("Id", "FragmentPath").index(name)])
        return new_method_return(message, "v", (self.properties.get(name, value),))

    def _unit_of(self, pid: int) -> tuple[str, str] | None:
        return self.units.get(pid, self.other_pids)


@contextmanager
def systemd_bus(program: Path, folder: Path) -> Iterator[tuple[Bus, FakeSystemd]]:
    """Both, in a folder with a short path."""
    bus = Bus(program, folder)
    try:
        with FakeSystemd(bus) as systemd:
            yield bus, systemd
    finally:
        bus.stop()
