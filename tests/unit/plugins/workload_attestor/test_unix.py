from __future__ import annotations

import asyncio
import grp
import hashlib
import os
import pwd
import subprocess
import sys
from asyncio.subprocess import PIPE
from collections.abc import Iterator
from pathlib import Path

import pytest
from spire_py_plugins.workload_attestor import unix
from spire_py_plugins.workload_attestor.unix import UnixWorkloadAttestor

from spire_py.errors import Internal, InvalidArgument
from spire_py.model.selector import Selector
from spire_py.plugin_api.context import PluginContext
from spire_py.spiffe.id import TrustDomain

_PR_SET_NAME = 15

_STATUS = """\
Name:\tsleep
Uid:\t1001\t{uid}\t1003\t1004
Gid:\t2001\t{gid}\t2003\t2004
Groups:\t{groups}
"""


@pytest.fixture
def context() -> PluginContext:
    return PluginContext(TrustDomain("example.org"))


@pytest.fixture
def child() -> Iterator[int]:
    """A process that lives as long as the test."""
    with subprocess.Popen(
        [sys.executable, "-S", "-c", "import sys; print(flush=True); sys.stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.communicate()


def fake_process(
    proc: Path, *, uid: object = 4_000_000_001, gid: object = 4_000_000_002, groups: str = ""
) -> None:
    (proc / "7").mkdir()
    (proc / "7" / "status").write_text(_STATUS.format(uid=uid, gid=gid, groups=groups))


def texts(selectors: tuple[Selector, ...]) -> list[str]:
    return [str(selector) for selector in selectors]


async def test_a_living_process_has_its_owners_selectors(child: int) -> None:
    selectors = texts(await UnixWorkloadAttestor().attest(child))
    assert selectors[:2] == [f"unix:uid:{os.getuid()}", f"unix:user:{pwd.getpwuid(os.getuid())[0]}"]
    assert f"unix:gid:{os.getgid()}" in selectors
    assert f"unix:group:{grp.getgrgid(os.getgid())[0]}" in selectors
    for gid in os.getgroups():
        assert f"unix:supplementary_gid:{gid}" in selectors
    assert not [text for text in selectors if text.startswith(("unix:path", "unix:sha256"))]


async def test_path_and_digest_are_told_when_asked_for(child: int) -> None:
    selectors = texts(await UnixWorkloadAttestor(discover_workload_path=True).attest(child))
    executable = Path(sys.executable).resolve()
    assert f"unix:path:{executable}" in selectors
    assert f"unix:sha256:{hashlib.sha256(executable.read_bytes()).hexdigest()}" in selectors


async def test_no_digest_below_a_size_limit_of_zero(child: int) -> None:
    attestor = UnixWorkloadAttestor(discover_workload_path=True, workload_size_limit=-1)
    selectors = texts(await attestor.attest(child))
    assert [text for text in selectors if text.startswith("unix:path:")]
    assert not [text for text in selectors if text.startswith("unix:sha256:")]


async def test_an_executable_above_the_size_limit_is_an_error(child: int) -> None:
    attestor = UnixWorkloadAttestor(discover_workload_path=True, workload_size_limit=1)
    with pytest.raises(Internal, match=r"exceeds size limit \(\d+ > 1\)"):
        await attestor.attest(child)


async def test_an_executable_of_the_size_limit_is_taken(child: int) -> None:
    size = Path(sys.executable).stat().st_size
    attestor = UnixWorkloadAttestor(discover_workload_path=True, workload_size_limit=size)
    assert "unix:sha256:" in texts(await attestor.attest(child))[-1]


async def test_ids_are_the_effective_ones(tmp_path: Path) -> None:
    fake_process(tmp_path, groups="4000000003 4000000004 ")
    assert texts(await UnixWorkloadAttestor(proc=tmp_path).attest(7)) == [
        "unix:uid:4000000001",
        "unix:gid:4000000002",
        "unix:supplementary_gid:4000000003",
        "unix:supplementary_gid:4000000004",
    ]


async def test_names_of_groups_are_told(tmp_path: Path) -> None:
    root = grp.getgrgid(0).gr_name
    fake_process(tmp_path, uid=0, gid=0, groups="0")
    assert texts(await UnixWorkloadAttestor(proc=tmp_path).attest(7)) == [
        "unix:uid:0",
        f"unix:user:{pwd.getpwuid(0).pw_name}",
        "unix:gid:0",
        f"unix:group:{root}",
        "unix:supplementary_gid:0",
        f"unix:supplementary_group:{root}",
    ]


@pytest.mark.parametrize("separator", ["\x1c", "\x1d", "\x1e", "\x85", "\x0b", "\r"])
async def test_a_process_cannot_choose_its_user_by_its_name(separator: str) -> None:
    name = f"{separator}Uid: 4 4".encode("latin-1")
    script = (
        "import ctypes, sys;"
        f"ctypes.CDLL(None).prctl({_PR_SET_NAME}, {name!r}, 0, 0, 0);"
        "print(flush=True); sys.stdin.read()"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-S", "-c", script, stdin=PIPE, stdout=PIPE
    )
    assert process.stdout is not None
    await process.stdout.readline()
    selectors = texts(await UnixWorkloadAttestor().attest(process.pid))
    await process.communicate(b"")
    assert selectors[0] == f"unix:uid:{os.getuid()}"
    assert "unix:uid:4" not in selectors


async def test_a_vanished_process_is_told_of() -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-S", "-c", "")
    await process.wait()
    with pytest.raises(Internal, match=f"failed to get process: process {process.pid} does not"):
        await UnixWorkloadAttestor().attest(process.pid)


async def test_a_process_that_ends_before_its_path_is_read_is_told_of(tmp_path: Path) -> None:
    fake_process(tmp_path)
    attestor = UnixWorkloadAttestor(discover_workload_path=True, proc=tmp_path)
    with pytest.raises(Internal, match="path lookup: process 7: No such file"):
        await attestor.attest(7)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        pytest.param("", "UIDs lookup: no UIDs", id="empty"),
        pytest.param("Uid:\t1\n", "UIDs lookup: no UIDs", id="one uid"),
        pytest.param("Uid:\t1\tx\t1\t1\n", "is no number", id="text as uid"),
        pytest.param("Uid:\t1\t1\t1\t1\n", "GIDs lookup: no GIDs", id="no gid"),
    ],
)
async def test_a_status_that_cannot_be_read_is_an_error(
    tmp_path: Path, status: str, message: str
) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "status").write_text(status)
    with pytest.raises(Internal, match=message):
        await UnixWorkloadAttestor(proc=tmp_path).attest(7)


async def test_settings_are_read(
    tmp_path: Path, context: PluginContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOST_PROC", str(tmp_path))
    fake_process(tmp_path)
    (tmp_path / "7" / "exe").symlink_to("/bin/true")
    attestor = unix.configure(
        {"discover_workload_path": "true", "workload_size_limit": "-1"}, context
    )
    assert texts(await attestor.attest(7))[-1] == "unix:path:/bin/true"


def test_bad_settings_are_refused(context: PluginContext) -> None:
    with pytest.raises(InvalidArgument, match="workload_size_limit must be an integer"):
        unix.configure({"workload_size_limit": "big"}, context)


def test_an_unknown_setting_is_warned_of(context: PluginContext) -> None:
    unix.configure({"discover_workload_paths": True}, context)
    assert context.warnings == [
        (
            'unknown setting "discover_workload_paths" encountered; did you mean '
            '"discover_workload_path"?'
        )
    ]
