from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

import pytest

from spire_py._proto.spire.api import types_pb2
from spire_py.agent.authorized_entry import ENTRY_MASK, AuthorizedEntry
from spire_py.agent.entry_sync import Request, Response, converse, read_entries
from spire_py.errors import Internal
from spire_py.spiffe.id import TrustDomain
from tests.unit.agent.builders import selectors


def message(entry_id: str = "a", **fields: object) -> types_pb2.Entry:
    values: dict[str, object] = {
        "id": entry_id,
        "spiffe_id": types_pb2.SPIFFEID(trust_domain="example.org", path=f"/{entry_id}"),
        "selectors": [types_pb2.Selector(type="unix", value="uid:1000")],
        "created_at": 100,
    }
    return types_pb2.Entry(**{**values, **fields})  # type: ignore[arg-type]


class FakeServer:
    """The server's part of a sync: pages of `page_size`, everything at once up to `few`."""

    def __init__(self, entries: Sequence[types_pb2.Entry], *, few: int, page_size: int) -> None:
        self.entries = {item.id: item for item in entries}
        self.few = few
        self.page_size = page_size
        self.asked: list[list[str]] = []
        self.mask: types_pb2.EntryMask | None = None
        self._answers: list[Response] = []

    async def send(self, request: Request) -> None:
        if self.mask is None:
            self.mask = request.output_mask
            self._answers = self._first()
        else:
            self.asked.append(list(request.ids))
            # A server may split its answer further than the client asked for.
            wanted = [self.entries[name] for name in request.ids if name in self.entries]
            half = max(1, len(wanted) // 2)
            pages = [wanted[at : at + half] for at in range(0, len(wanted), half)] or [[]]
            self._answers += [Response(entries=page, more=page is not pages[-1]) for page in pages]

    def _first(self) -> list[Response]:
        everything = list(self.entries.values())
        if len(everything) <= self.few:
            return [Response(entries=everything)]
        size = self.page_size
        pages = [everything[at : at + size] for at in range(0, len(everything), size)]
        return [
            Response(
                entry_revisions=[
                    {
                        "id": item.id,
                        "revision_number": item.revision_number,
                        "created_at": item.created_at,
                    }  # type: ignore[list-item]
                    for item in page
                ],
                more=page is not pages[-1],
            )
            for page in pages
        ]

    async def __aiter__(self) -> AsyncIterator[Response]:
        while self._answers:
            yield self._answers.pop(0)


async def sync(
    entries: Sequence[types_pb2.Entry],
    known: Mapping[str, AuthorizedEntry],
    *,
    few: int = 500,
    page_size: int = 2,
) -> tuple[dict[str, AuthorizedEntry], FakeServer]:
    server = FakeServer(entries, few=few, page_size=page_size)
    return await converse(server, known), server


async def test_few_entries_come_at_once() -> None:
    entries, server = await sync([message("a"), message("b")], {})
    assert sorted(entries) == ["a", "b"]
    assert server.mask == ENTRY_MASK
    assert server.asked == []


async def test_many_entries_are_asked_for_page_by_page_sorted() -> None:
    entries, server = await sync([message(name) for name in "edcba"], {}, few=0)
    assert sorted(entries) == list("abcde")
    assert server.asked == [["a", "b"], ["c", "d"], ["e"]]


async def test_only_what_changed_is_asked_for() -> None:
    names = "abcdef"
    known, _ = await sync([message(name) for name in names], {}, few=0)
    changed = [message(name) for name in names]
    changed[1].revision_number = 1
    changed[2].created_at = 200
    del changed[5]
    entries, server = await sync([*changed, message("g")], known, few=0)
    assert sorted(entries) == list("abcdeg")
    assert server.asked == [["b", "c"], ["g"]]
    assert entries["a"] is known["a"]
    assert entries["b"].revision_number == 1


@pytest.mark.parametrize("few", [0, 500])
async def test_unchanged_entries_are_the_same_objects(few: int) -> None:
    messages = [message("a"), message("b")]
    known, _ = await sync(messages, {}, few=few)
    entries, _ = await sync(messages, known, few=few)
    assert all(entries[name] is known[name] for name in known)


async def test_no_entries_at_all_is_an_answer() -> None:
    known, _ = await sync([message("a")], {})
    assert await sync([], known) is not None
    entries, _ = await sync([], known)
    assert entries == {}


def test_a_lost_federation_is_noticed_without_a_new_revision() -> None:
    known = read_entries([message("a", federates_with=["other.test"])], {})
    entries = read_entries([message("a")], known)
    assert entries["a"].federates_with == ()


def test_an_entry_is_read_whole() -> None:
    text = message(
        "a",
        federates_with=["other.test"],
        hint="internal",
        revision_number=3,
        store_svid=True,
        additional_attributes=types_pb2.Entry.AdditionalAttributes(
            disable_x509_svid_prefetch=True, jwt_svid_include_jti=True
        ),
    )
    assert read_entries([text], {})["a"] == AuthorizedEntry(
        id="a",
        spiffe_id=TrustDomain("example.org").member("/a"),
        selectors=selectors("unix:uid:1000"),
        federates_with=(TrustDomain("other.test"),),
        hint="internal",
        revision_number=3,
        created_at=100,
        store_svid=True,
        disable_x509_svid_prefetch=True,
        jwt_svid_include_jti=True,
    )


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"id": ""}, id="no id"),
        pytest.param({"spiffe_id": None}, id="no SPIFFE ID"),
        pytest.param(
            {"spiffe_id": types_pb2.SPIFFEID(trust_domain="Example.org", path="/a")},
            id="bad SPIFFE ID",
        ),
        pytest.param({"federates_with": ["Other"]}, id="bad trust domain"),
        pytest.param({"selectors": []}, id="no selectors"),
        pytest.param({"selectors": [types_pb2.Selector(value="x")]}, id="no selector type"),
        pytest.param({"selectors": [types_pb2.Selector(type="x")]}, id="no selector value"),
        pytest.param(
            {"selectors": [types_pb2.Selector(type="x:y", value="z")]}, id="colon in the type"
        ),
    ],
)
def test_a_malformed_entry_is_left_out(fields: dict[str, object]) -> None:
    assert list(read_entries([message("a", **fields), message("b")], {})) == ["b"]


@pytest.mark.parametrize(
    ("answers", "complaint"),
    [
        pytest.param([], "EOF", id="nothing"),
        pytest.param(
            [Response(entry_revisions=[{"id": "a"}], more=True)],  # type: ignore[list-item]
            "EOF",
            id="a page is missing",
        ),
        pytest.param(
            [
                Response(entry_revisions=[{"id": "a"}], more=True),  # type: ignore[list-item]
                Response(entries=[message("a")]),
            ],
            "unexpected entry",
            id="an entry among revisions",
        ),
        pytest.param(
            [Response(entry_revisions=[{"id": "a"}])] * 2,  # type: ignore[list-item]
            "unexpected entry revisions",
            id="a revision among entries",
        ),
    ],
)
async def test_a_server_that_breaks_the_protocol_fails_the_sync(
    answers: list[Response], complaint: str
) -> None:
    class Broken:
        async def send(self, _message: Request) -> None: ...

        async def __aiter__(self) -> AsyncIterator[Response]:
            for answer in answers:
                yield answer

    with pytest.raises(Internal, match=complaint):
        await converse(Broken(), {})


async def test_malformed_revisions_are_passed_over() -> None:
    class Server:
        async def send(self, _message: Request) -> None: ...

        async def __aiter__(self) -> AsyncIterator[Response]:
            yield Response(
                entry_revisions=[  # type: ignore[list-item]
                    {"id": "", "revision_number": 1},
                    {"id": "a", "revision_number": -1},
                ]
            )

    assert await converse(Server(), {}) == {}
