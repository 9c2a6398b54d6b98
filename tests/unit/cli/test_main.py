"""The three programs: names, help, versions, and what an unknown word leads to."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import pytest

from spire_py.cli.command import Command, CommandFailed
from spire_py.cli.flags import Flag, Flags, Kind
from spire_py.cli.main import AGENT_COMMANDS, SERVER_COMMANDS, SPIRE_PY_COMMANDS, run
from spire_py.errors import NotFound
from spire_py.version import SPIRE_VERSION, VERSION

PROGRAMS = {
    "spire-server": SERVER_COMMANDS,
    "spire-agent": AGENT_COMMANDS,
    "spire-py": SPIRE_PY_COMMANDS,
}
EVERY = [
    pytest.param(program, name, id=f"{program} {name}")
    for program, commands in PROGRAMS.items()
    for name in commands
]


@pytest.mark.parametrize(("program", "name"), EVERY)
def test_every_command_has_help(
    program: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(program, PROGRAMS[program], [*name.split(), "-h"]) == 0
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("Usage of ")


SPIRES_FLAGS = {
    "server": {
        "healthcheck": "instance shallow socketPath verbose",
        "token generate": "instance output socketPath spiffeID ttl",
        "entry create": (
            "admin data disableX509SVIDPrefetch dns downstream entryExpiry entryID federatesWith "
            "hint instance jwtSVIDIncludeJTI jwtSVIDTTL node output parentID selector socketPath "
            "spiffeID storeSVID x509SVIDTTL"
        ),
        "entry delete": "entryID file instance output socketPath",
        "entry show": (
            "downstream entryID federatesWith hint instance matchFederatesWithOn "
            "matchSelectorsOn output parentID selector socketPath spiffeID"
        ),
        "entry count": (
            "downstream federatesWith hint instance matchFederatesWithOn matchSelectorsOn "
            "output parentID selector socketPath spiffeID"
        ),
        "bundle show": "format instance output socketPath",
        "agent list": (
            "attestationType banned canReattest expiresBefore instance matchSelectorsOn output "
            "selector socketPath"
        ),
        "agent count": (
            "attestationType banned canReattest expiresBefore instance matchSelectorsOn output "
            "selector socketPath"
        ),
        "agent show": "instance output socketPath spiffeID",
        "agent ban": "instance output socketPath spiffeID",
        "agent evict": "instance output socketPath spiffeID",
        "run": (
            "bindAddress config dataDir expandEnv logFile logFormat logLevel logSourceLocation "
            "serverPort socketPath trustDomain"
        ),
    },
    "agent": {
        "healthcheck": "instance shallow socketPath verbose",
        "api fetch": "instance output silent socketPath timeout write",
        "api fetch x509": "instance output silent socketPath timeout write",
        "api fetch jwt": "audience format instance output socketPath spiffeID timeout",
        "api validate jwt": "audience instance output socketPath svid timeout",
        "api watch": "instance socketPath",
        "run": (
            "allowUnauthenticatedVerifiers config dataDir disableSDSAPI disableWorkloadAPI "
            "expandEnv insecureBootstrap joinToken joinTokenFile logFile logFormat logLevel "
            "logSourceLocation rebootstrapDelay rebootstrapMode serverAddress serverPort "
            "socketPath trustBundle trustBundleFormat trustBundleUrl trustDomain"
        ),
    },
}


@pytest.mark.parametrize(
    ("daemon", "name", "flags"),
    [
        pytest.param(daemon, name, flags, id=f"{daemon} {name}")
        for daemon, commands in SPIRES_FLAGS.items()
        for name, flags in commands.items()
    ],
)
def test_every_flag_of_spire_is_there(
    daemon: str, name: str, flags: str, capsys: pytest.CaptureFixture[str]
) -> None:
    program = f"spire-{daemon}"
    run(program, PROGRAMS[program], [*name.split(), "-help"])
    lines = capsys.readouterr().err.splitlines()
    shown = {line.split()[0][1:] for line in lines if line.startswith("  -")}
    assert shown - {"ttl"} == set(flags.split()) - {"ttl"}


@pytest.mark.parametrize("flag", ["-version", "--version", "-v"])
def test_spires_names_tell_spires_version_alone(
    flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for program in ("spire-server", "spire-agent"):
        assert run(program, PROGRAMS[program], [flag]) == 0
        assert capsys.readouterr() == ("", f"{SPIRE_VERSION}\n")
    assert run("spire-py", SPIRE_PY_COMMANDS, [flag]) == 0
    assert capsys.readouterr() == ("", f"spire-py {VERSION} (SPIRE {SPIRE_VERSION})\n")


@pytest.mark.parametrize(
    ("words", "code", "first"),
    [
        pytest.param([], 127, "Usage: spire-server [--version] [--help] <command>", id="nothing"),
        pytest.param(["-h"], 0, "Usage: spire-server [--version] [--help] <command>", id="help"),
        pytest.param(["--help"], 0, "Usage: spire-server [--version]", id="long help"),
        pytest.param(["nonsense"], 127, 'There is no command "nonsense".', id="unknown"),
        pytest.param(
            ["entyr", "show"], 127, 'no command "entyr show"; did you mean "entry show"?', id="typo"
        ),
        pytest.param(
            ["entry", "shwo"], 1, 'no command "entry shwo"; did you mean "entry show"?', id="in one"
        ),
        pytest.param(["entry"], 1, '"entry" needs one more word.', id="a group"),
        pytest.param(["entry", "-h"], 0, "Usage: spire-server entry <command>", id="group's help"),
        pytest.param(
            ["-output", "json", "entry"], 127, "Flags come after the command.", id="flags first"
        ),
        pytest.param(["\udcff"], 127, 'There is no command "\\udcff".', id="no UTF-8"),
    ],
)
def test_an_unknown_word_leads_to_the_commands(
    words: list[str], code: int, first: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("spire-server", SERVER_COMMANDS, words) == code
    output = capsys.readouterr()
    assert output.out == ""
    assert first in output.err.splitlines()[0]
    assert "    entry show " in output.err
    group = bool(words) and words[0] == "entry"
    assert ("    bundle show " in output.err) is not group


@pytest.mark.parametrize(
    "line", ["entry update -h", "x509 mint", "localauthority jwt show", "logger get -output json"]
)
def test_a_command_that_only_spire_has_is_named(
    line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("spire-server", SERVER_COMMANDS, line.split()) == 127
    name = " ".join(line.split()[:2])
    message = f'spire-py does not have SPIRE\'s command "{name}".\n'
    assert capsys.readouterr() == ("", message)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["-nonsense"], "flag provided but not defined: -nonsense", id="unknown"),
        pytest.param(["-ttl"], "flag needs an argument: -ttl", id="no value"),
        pytest.param(["-ttl", "x"], 'invalid value "x" for flag -ttl: parse error', id="no number"),
        pytest.param(["---ttl"], "bad flag syntax: ---ttl", id="three dashes"),
    ],
)
def test_a_bad_flag_is_told_before_the_usage(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("spire-server", SERVER_COMMANDS, ["token", "generate", *words]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == [message, "Usage of token generate:"]


def test_a_flag_that_is_nearly_right_is_named_last(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("spire-server", SERVER_COMMANDS, ["entry", "show", "-spiffeId", "x"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "flag provided but not defined: -spiffeId"
    assert lines[-1] == "Did you mean -spiffeID?"


def ends(outcome: int | BaseException) -> Mapping[str, str]:
    """Commands of which the only one ends so."""

    def body(_flags: Flags) -> int:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    module = sys.modules[__name__]
    command = Command("end", "", (Flag("x", "", Kind.SWITCH),), body, "prefix: ")
    module.END = command  # type: ignore[attr-defined]
    return {"end": f"{__name__}:END"}


@pytest.mark.parametrize(
    ("outcome", "code", "message"),
    [
        pytest.param(0, 0, "", id="good"),
        pytest.param(3, 3, "", id="code"),
        pytest.param(CommandFailed("no"), 1, "Error: no\n", id="failed"),
        pytest.param(CommandFailed("no", prefix=""), 1, "no\n", id="failed, own prefix"),
        pytest.param(NotFound("none"), 1, "prefix: none\n", id="SpireError"),
        pytest.param(
            PermissionError(13, "Permission denied", "/x"),
            1,
            "prefix: open /x: permission denied\n",
            id="file",
        ),
        pytest.param(OSError(28, "No space left"), 1, "prefix: no space left\n", id="disk"),
        pytest.param(
            UnicodeEncodeError("utf-8", "a\udcff", 1, 2, "surrogates not allowed"),
            1,
            "prefix: not valid UTF-8: 'a\\udcff'\n",
            id="no UTF-8",
        ),
        pytest.param(KeyboardInterrupt(), 130, "", id="interrupted"),
    ],
)
def test_how_a_command_ends_is_the_exit_code(
    outcome: int | BaseException, code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("spire-py", ends(outcome), ["end"]) == code
    assert capsys.readouterr() == ("", message)


def test_a_bug_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        run("spire-py", ends(ZeroDivisionError()), ["end"])
