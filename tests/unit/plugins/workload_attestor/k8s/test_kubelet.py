from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from spire_py_plugins.workload_attestor.k8s.kubelet import Kubelet, KubeletLimits
from spire_py_plugins.workload_attestor.k8s.pods import Pod
from spire_py_plugins.workload_attestor.k8s.settings import KubeletSettings

from spire_py.errors import FailedPrecondition, SpireError, Unavailable
from tests.fakes.clock import FakeClock
from tests.fakes.kubelet import FakeKubelet, pod
from tests.fakes.kubernetes.certificates import ClusterCA
from tests.integration.daemons import free_port

CA = ClusterCA()
ID = "9bca8d63d5fa610783847915bcff0ecac1273e5b4bed3f6fa1b07350e0135961"


@pytest.fixture
def kubelet() -> Iterator[FakeKubelet]:
    with FakeKubelet(CA) as kubelet:
        kubelet.token = "first"
        kubelet.pods = [pod("uid-1", ID)]
        yield kubelet


@pytest.fixture
def settings(kubelet: FakeKubelet, tmp_path: Path) -> KubeletSettings:
    (tmp_path / "ca.crt").write_text(CA.pem)
    (tmp_path / "token").write_text("first\n")
    return KubeletSettings(
        port=kubelet.port, authorities=tmp_path / "ca.crt", token=tmp_path / "token"
    )


async def fetch(settings: KubeletSettings, limits: KubeletLimits | None = None) -> dict[str, Pod]:
    client = Kubelet(settings, clock=FakeClock(), limits=limits)
    try:
        return dict(await client.fetch_pods())
    finally:
        await client.aclose()


async def refusal(settings: KubeletSettings, limits: KubeletLimits | None = None) -> SpireError:
    with pytest.raises(SpireError) as caught:
        await fetch(settings, limits)
    return caught.value


async def test_pods_come_over_the_secure_port(settings: KubeletSettings) -> None:
    pods = await fetch(settings)
    assert list(pods) == ["uid-1"]
    assert pods["uid-1"].containers[0].id == ID


async def test_pods_come_over_the_read_only_port() -> None:
    with FakeKubelet() as kubelet:
        kubelet.pods = [pod("uid-1", ID)]
        settings = KubeletSettings(node_name="node.invalid", port=kubelet.port, secure=False)
        assert list(await fetch(settings)) == ["uid-1"]
        assert kubelet.asked == [""]


async def test_pods_that_are_over_are_dropped(
    kubelet: FakeKubelet, settings: KubeletSettings
) -> None:
    kubelet.pods += [pod("uid-2", ID, phase="Failed"), pod("uid-3", ID, phase="Succeeded")]
    kubelet.pods += [pod("uid-4", phase="Pending")]
    assert list(await fetch(settings)) == ["uid-1", "uid-4"]


async def test_a_pod_that_cannot_be_read_hides_no_other(
    kubelet: FakeKubelet, settings: KubeletSettings
) -> None:
    broken = [{}, {"metadata": {"uid": 7}}, {"metadata": []}, "pod", None, pod("")]
    broken += [pod("uid-2", labels={"a": "\ud800"}), {"status": {"containerStatuses": {"a": 1}}}]
    kubelet.pods = [*broken, *kubelet.pods]  # type: ignore[list-item]
    assert list(await fetch(settings)) == ["uid-1"]


async def test_a_client_certificate_is_shown(
    kubelet: FakeKubelet, settings: KubeletSettings, tmp_path: Path
) -> None:
    issued = CA.client("spire-agent")
    kubelet.token, kubelet.user = None, "spire-agent"
    (tmp_path / "client.crt").write_text(issued.pem)
    (tmp_path / "client.key").write_text(issued.key_pem)
    files = {"certificate": tmp_path / "client.crt", "private_key": tmp_path / "client.key"}
    assert list(await fetch(replace(settings, token=None, **files))) == ["uid-1"]
    assert kubelet.asked == [""]


async def test_nothing_is_shown_where_that_is_configured(
    kubelet: FakeKubelet, settings: KubeletSettings
) -> None:
    kubelet.token = None
    assert list(await fetch(replace(settings, token=None))) == ["uid-1"]
    assert kubelet.asked == [""]


async def test_any_certificate_will_do_where_none_is_verified() -> None:
    with FakeKubelet(ClusterCA(), names=["elsewhere"]) as kubelet:
        kubelet.pods = [pod("uid-1", ID)]
        settings = KubeletSettings(port=kubelet.port, authorities=None, token=None)
        assert list(await fetch(settings)) == ["uid-1"]


async def test_without_a_node_name_any_name_will_do(
    kubelet: FakeKubelet, settings: KubeletSettings
) -> None:
    with FakeKubelet(CA, names=["node-1"]) as kubelet:
        kubelet.pods = [pod("uid-1", ID)]
        assert list(await fetch(replace(settings, port=kubelet.port))) == ["uid-1"]


async def test_a_node_name_must_be_the_certificates(settings: KubeletSettings) -> None:
    with FakeKubelet(CA, names=["localhost"]) as kubelet:
        kubelet.pods = [pod("uid-1", ID)]
        there = replace(settings, port=kubelet.port)
        assert list(await fetch(replace(there, node_name="localhost"))) == ["uid-1"]
        error = await refusal(replace(there, node_name="127.0.0.1"))
    assert "certificate is not trusted" in error.message
    assert "node_name must be a name that the kubelet's certificate has" in error.message


async def test_a_certificate_of_another_ca_is_refused(
    settings: KubeletSettings, tmp_path: Path
) -> None:
    (tmp_path / "ca.crt").write_text(ClusterCA().pem)
    error = await refusal(settings)
    assert isinstance(error, Unavailable)
    assert "did not issue the kubelet's certificate: set kubelet_ca_path" in error.message


async def test_no_proxy_stands_before_the_kubelet(
    settings: KubeletSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert list(await fetch(settings)) == ["uid-1"]


@pytest.mark.parametrize(
    ("status", "text", "expected"),
    [
        pytest.param(
            401,
            "Unauthorized",
            "unexpected status code on pods response: 401 Unauthorized (the kubelet takes tokens "
            "only with --authentication-token-webhook, and no anonymous requests without "
            "--anonymous-auth)",
            id="401",
        ),
        pytest.param(
            403,
            "Forbidden (user=system:serviceaccount:spire:agent, verb=get, resource=nodes)\n",
            "unexpected status code on pods response: 403 Forbidden "
            "(user=system:serviceaccount:spire:agent, verb=get, resource=nodes) (the agent's "
            "ClusterRole needs the verb get on nodes/proxy, or on nodes/pods where the kubelet has "
            "fine-grained authorization)",
            id="403",
        ),
        pytest.param(
            500,
            "etcd\n\x1b[2Jaway",
            "unexpected status code on pods response: 500 etcd [2Jaway",
            id="500",
        ),
        pytest.param(503, "", "unexpected status code on pods response: 503", id="503"),
        pytest.param(302, "", "unexpected status code on pods response: 302", id="302"),
        pytest.param(999, "", "unexpected status code on pods response: 999", id="999"),
        pytest.param(
            404,
            "x" * 100_000,
            f"unexpected status code on pods response: 404 {'x' * 300}",
            id="404",
        ),
    ],
)
async def test_refusals_say_what_is_missing(
    kubelet: FakeKubelet, settings: KubeletSettings, status: int, text: str, expected: str
) -> None:
    kubelet.refusal = (status, text)
    error = await refusal(settings)
    assert isinstance(error, Unavailable)
    assert error.message == expected


@pytest.mark.parametrize(
    "body",
    [
        pytest.param([b'{"items":[{"metadata":'], id="half"),
        pytest.param([b"<html>"], id="HTML"),
        pytest.param([b'{"kind":"Status"}'], id="another object"),
        pytest.param([b"\x1f\x8b\x08\x00"], id="compressed"),
    ],
)
async def test_nonsense_is_refused(
    kubelet: FakeKubelet, settings: KubeletSettings, body: list[bytes]
) -> None:
    kubelet.body = body
    assert (await refusal(settings)).message.startswith("invalid kubelet response: ")


async def test_a_compressed_answer_is_refused(
    kubelet: FakeKubelet, settings: KubeletSettings
) -> None:
    kubelet.headers = {"Content-Encoding": "gzip"}
    assert "it is encoded as 'gzip'" in (await refusal(settings)).message


async def test_a_connection_that_breaks_in_the_middle_is_told(
    kubelet: FakeKubelet, settings: KubeletSettings
) -> None:
    def broken() -> Iterator[bytes]:
        yield b'{"items":['
        raise ConnectionResetError

    kubelet.body = broken()
    assert (await refusal(settings)).message.startswith("unable to perform request: ")


async def test_an_endless_answer_costs_little(
    kubelet: FakeKubelet, settings: KubeletSettings
) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        yield b'{"items":['
        while True:
            sent += 1
            yield b" " * 65536

    kubelet.body = endless()
    error = await refusal(settings, KubeletLimits(answer_bytes=2_000_000))
    assert error.message == "invalid kubelet response: longer than 2000000 bytes"
    assert sent < 1000


async def test_a_tenants_largest_pods_hide_nobody_elses(
    kubelet: FakeKubelet, settings: KubeletSettings
) -> None:
    largest = pod("fat", ID, annotations={"a": "x" * 1_400_000})
    # As Go writes 1.4 MB of `<`.
    escaped = json.dumps(pod("escaped", ID, annotations={"a": "<"})).replace(
        "<", "\\u003c" * 1_400_000
    )
    items = [*[json.dumps(largest)] * 50, escaped, *map(json.dumps, kubelet.pods)]
    text = f'{{"items": [{",".join(items)}]}}'.encode()
    kubelet.body = [text[start : start + 65536] for start in range(0, len(text), 65536)]
    client = Kubelet(settings, clock=FakeClock(), limits=KubeletLimits(seconds=100.0))
    async with aclosing(client):
        assert list(await client.fetch_pods()) == ["fat", "escaped", "uid-1"]


async def test_too_many_pods_are_refused(kubelet: FakeKubelet, settings: KubeletSettings) -> None:
    kubelet.pods = [pod(f"uid-{number}") for number in range(4)]
    error = await refusal(settings, KubeletLimits(pods=3))
    assert error.message == "invalid kubelet response: more than 3 pods"


async def test_a_kubelet_that_does_not_answer_is_left(
    kubelet: FakeKubelet, settings: KubeletSettings
) -> None:
    kubelet.may_answer.clear()
    error = await refusal(settings, KubeletLimits(seconds=0.2))
    assert "no whole answer from https://127.0.0.1:" in error.message
    assert "within 0.2 s" in error.message


async def test_a_kubelet_that_is_away_is_told(settings: KubeletSettings) -> None:
    away = replace(settings, port=free_port())
    message = (await refusal(away)).message
    assert "Connection refused" in message
    assert "needs hostNetwork: true" in message
    assert "hostNetwork" not in (await refusal(replace(away, node_name="localhost"))).message


async def test_a_node_name_that_is_none_is_told(settings: KubeletSettings) -> None:
    for name in ("a b", "a/b", "\x00", "a@b:c", "x" * 300):
        assert (await refusal(replace(settings, node_name=name))).message


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        pytest.param("ca.crt", "unable to load kubelet CA: ", id="CA"),
        pytest.param("token", "unable to load token: ", id="token"),
    ],
)
async def test_a_missing_file_is_told_and_taken_when_it_comes(
    kubelet: FakeKubelet, settings: KubeletSettings, tmp_path: Path, missing: str, expected: str
) -> None:
    (tmp_path / missing).rename(tmp_path / "hidden")
    client = Kubelet(settings, clock=FakeClock())
    with pytest.raises(FailedPrecondition) as caught:
        await client.fetch_pods()
    assert caught.value.message.startswith(expected)
    assert "No such file or directory" in caught.value.message
    assert "automountServiceAccountToken" in caught.value.message
    assert kubelet.asked == []
    (tmp_path / "hidden").rename(tmp_path / missing)
    assert list(await client.fetch_pods()) == ["uid-1"]
    await client.aclose()


async def test_a_file_without_certificates_is_told(
    settings: KubeletSettings, tmp_path: Path
) -> None:
    (tmp_path / "ca.crt").write_text("")
    assert isinstance(await refusal(settings), FailedPrecondition)


async def test_a_token_that_rotates_is_read_again(
    kubelet: FakeKubelet, settings: KubeletSettings, tmp_path: Path
) -> None:
    clock = FakeClock()
    client = Kubelet(settings, clock=clock)
    await client.fetch_pods()
    (tmp_path / "token").write_text("second")
    await client.fetch_pods()
    await clock.advance(timedelta(minutes=1))
    kubelet.token = "second"
    await client.fetch_pods()
    assert kubelet.asked == ["Bearer first", "Bearer first", "Bearer second"]
    await client.aclose()


async def test_a_token_that_is_refused_is_read_again_at_once(
    kubelet: FakeKubelet, settings: KubeletSettings, tmp_path: Path
) -> None:
    client = Kubelet(settings, clock=FakeClock())
    await client.fetch_pods()
    (tmp_path / "token").write_text("second")
    kubelet.token = "second"
    with pytest.raises(Unavailable):
        await client.fetch_pods()
    assert list(await client.fetch_pods()) == ["uid-1"]
    await client.aclose()


async def test_another_ca_counts_after_the_reload_interval(
    settings: KubeletSettings, tmp_path: Path
) -> None:
    clock = FakeClock()
    client = Kubelet(settings, clock=clock)
    await client.fetch_pods()
    (tmp_path / "ca.crt").write_text(ClusterCA().pem)
    await client.fetch_pods()
    await clock.advance(timedelta(minutes=1))
    with pytest.raises(Unavailable, match="not trusted"):
        await client.fetch_pods()
    await client.aclose()


async def test_no_token_is_shown_in_errors(
    kubelet: FakeKubelet, settings: KubeletSettings, tmp_path: Path
) -> None:
    for content in ("s3cret\x00token", "s3cret\ntoken", "s3crét"):
        (tmp_path / "token").write_text(content)
        assert "s3cr" not in str(await refusal(settings))


async def test_500_pods_cost_little_memory(kubelet: FakeKubelet, settings: KubeletSettings) -> None:
    weight = {"managedFields": [{"fields": {f"f:{number}": {} for number in range(300)}}]}
    pods = [pod(f"uid-{number}", f"{number:064x}", **weight) for number in range(500)]
    text = json.dumps({"items": pods}).encode()
    client = Kubelet(settings, clock=FakeClock())
    assert len(text) > 2_000_000
    pods_read, kept, peak = {}, 0, 0
    # The first fetch also loads what libraries load when they are used.
    for _ in range(2):
        kubelet.body = [text[start : start + 10_000] for start in range(0, len(text), 10_000)]
        pods_read = {}
        tracemalloc.start()
        try:
            pods_read = await client.fetch_pods()
            kept, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    await client.aclose()
    assert len(pods_read) == 500
    assert peak < len(text)
    assert kept < 1_000_000
