"""The programs as a shell sees them: pipes that close, odd words, signals. No traceback, ever."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.integration.cli.commands import Shell
from tests.integration.daemons import OURS, Stack, stack_folder

PROGRAM = " ".join(OURS)


def shell(script: str, stack: Stack, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script of bash in which `spire-py` is our program."""
    done = subprocess.run(
        ["bash", "-c", f'spire-py() {{ {PROGRAM} "$@"; }}\n{script}'],
        capture_output=True,
        encoding="utf-8",
        errors="backslashreplace",
        timeout=60,
        check=False,
        env={
            **os.environ,
            "SPIRE_SERVER_PRIVATE_SOCKET": str(stack.server_socket),
            **environment,
        },
    )
    assert "Traceback" not in done.stdout + done.stderr
    assert "Exception ignored" not in done.stderr
    return done


@pytest.fixture(scope="module")
def many(stack: Stack, server: Shell) -> Stack:
    """A server with more entries than a pipe holds."""
    entries = ",".join(
        f'{{"parent_id":"spiffe://example.org/n","spiffe_id":"spiffe://example.org/{number}",'
        f'"selectors":[{{"type":"a","value":"{number}"}}]}}'
        for number in range(1000)
    )
    assert server("entry create -data -", stdin=f'{{"entries":[{entries}]}}'.encode()).code == 0
    return stack


def test_a_reader_that_goes_away_ends_the_command_in_silence(many: Stack) -> None:
    done = shell("spire-py entry show | head -1; echo ${PIPESTATUS[0]}", many)
    assert done.stdout.splitlines() == ["Found 1000 entries", "141"]
    assert done.stderr == ""


def test_a_full_disk_is_told(many: Stack) -> None:
    done = shell("spire-py entry show > /dev/full", many)
    assert done.returncode == 1
    assert done.stderr.endswith("no space left on device\n")
    done = shell("spire-py entry count > /dev/full", many)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)


@pytest.mark.parametrize("redirection", [">&-", "2>&-", ">&- 2>&-", "<&-", "2>/dev/full"])
def test_streams_may_be_closed(many: Stack, redirection: str) -> None:
    assert shell(f"spire-py entry count {redirection}", many).returncode == 0


def test_a_closed_stdin_is_told(many: Stack) -> None:
    done = shell("spire-py entry create -data - <&-", many)
    assert (done.returncode, done.stderr) == (1, "Error: stdin is closed\n")


def test_too_much_input_is_refused(many: Stack) -> None:
    done = shell("head -c 70000000 /dev/zero | spire-py entry create -data -", many)
    assert (done.returncode, done.stderr) == (1, "Error: - is larger than 64 MiB\n")


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(r"entry show -hint $'\xff\xfe'", id="hint"),
        pytest.param(r"entry show -selector $'\xff:x'", id="selector"),
        pytest.param(r"entry show -socketPath $'/tmp/\xff'", id="path"),
        pytest.param(r"entry create -data $'/tmp/\xff'", id="file"),
        pytest.param(r"token generate -spiffeID $'spiffe://example.org/\xff'", id="SPIFFE ID"),
        pytest.param(r"bundle show -format $'\xff'", id="format"),
        pytest.param(r"entry show -$'\xff'", id="flag"),
    ],
)
def test_words_that_are_no_text_are_refused_in_words(stack: Stack, words: str) -> None:
    done = shell(f"spire-py {words}", stack)
    assert done.returncode == 1
    assert "internal error" not in done.stderr
    assert done.stderr


@pytest.mark.parametrize(
    "environment",
    [
        pytest.param({"LC_ALL": "C"}, id="C"),
        pytest.param({"LC_ALL": "POSIX", "PYTHONIOENCODING": "ascii"}, id="ascii"),
        pytest.param({"LC_ALL": "nowhere.ISO-8859-1"}, id="unknown locale"),
    ],
)
def test_a_locale_changes_no_text(stack: Stack, environment: dict[str, str]) -> None:
    made = shell(
        "spire-py entry create -node -spiffeID spiffe://example.org/u -selector a:b -hint grüße; "
        "spire-py entry show -hint grüße -output json",
        stack,
        **environment,
    )
    assert '"hint":"grüße"' in made.stdout


def test_an_interrupt_ends_a_command_with_130(stack: Stack) -> None:
    with stack_folder() as folder:
        fifo = folder / "entries"
        os.mkfifo(fifo)
        words = ["entry", "create", "-data", str(fifo)]
        process = subprocess.Popen([*OURS, *words], stderr=subprocess.PIPE, text=True)
        # Once the pipe has a reader, the command waits for what we write.
        with fifo.open("wb"):
            process.send_signal(signal.SIGINT)
            _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (130, "")


def test_the_demo_ends_its_daemons_when_it_is_told_to(tmp_path: Path) -> None:
    with stack_folder() as folder:
        process = subprocess.Popen(
            [*OURS, "demo"],
            env={**os.environ, "TMPDIR": str(folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout is not None
        assert "  server " in process.stdout.readline()
        process.terminate()
        # The daemons hold the pipe too, until they have ended.
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "Traceback" not in output
        assert list(folder.iterdir()) == []
