"""LiveKit rooms without LiveKit: what the plug-in and LiveKit's own avatar classes use of them."""

from __future__ import annotations

import asyncio
import inspect
from types import SimpleNamespace

from livekit import rtc

KIND_AGENT = rtc.ParticipantKind.PARTICIPANT_KIND_AGENT


class Publication:
    """A track that somebody is subscribed to."""

    def __init__(self, track, kind) -> None:
        self.track, self.kind, self.sid, self.subscribed = track, kind, f"TR_{kind}", True

    async def wait_for_subscription(self) -> None:
        pass


class Reader:
    """A byte stream as its receiver sees it."""

    def __init__(self, info) -> None:
        self.info = info
        self._chunks: asyncio.Queue = asyncio.Queue()

    def __aiter__(self):
        return self

    async def __anext__(self) -> bytes:
        chunk = await self._chunks.get()
        if chunk is None:
            raise StopAsyncIteration
        return chunk


class Writer:
    """A byte stream as its sender sees it."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def write(self, data: bytes) -> None:
        self._reader._chunks.put_nowait(data)

    async def aclose(self) -> None:
        self._reader._chunks.put_nowait(None)


class Local:
    """The participant of a room's own side."""

    def __init__(self, room: FakeRoom, identity: str) -> None:
        self._room, self.identity, self.kind = room, identity, KIND_AGENT
        self.state = rtc.ParticipantState.PARTICIPANT_STATE_ACTIVE
        self.track_publications: dict[str, Publication] = {}
        self.attributes: dict[str, str] = {}
        self._rpc_handlers: dict = {}

    async def publish_track(self, track, options) -> Publication:
        kind = rtc.TrackKind.KIND_VIDEO if "video" in track.name else rtc.TrackKind.KIND_AUDIO
        publication = Publication(track, kind)
        self.track_publications[publication.sid] = publication
        self._room.emit("local_track_published", publication, track)
        for other in self._room.others():
            other.emit("track_published", publication, self)
        return publication

    def register_rpc_method(self, name: str, handler) -> None:
        self._rpc_handlers[name] = handler

    async def perform_rpc(self, *, destination_identity: str, method: str, payload: str, **_) -> str:
        self._room.calls.append((method, payload, destination_identity))
        handler = self._room.side_of(destination_identity).local_participant._rpc_handlers.get(method)
        if handler is None:
            raise rtc.RpcError._built_in(rtc.RpcError.ErrorCode.UNSUPPORTED_METHOD)
        answer = handler(rtc.RpcInvocationData("1", self.identity, payload, 10.0, method))
        return await answer if inspect.isawaitable(answer) else answer

    async def stream_bytes(self, *, name, topic, destination_identities, attributes) -> Writer:
        self._room.streams.append(SimpleNamespace(name=name, topic=topic, attributes=attributes))
        reader = Reader(SimpleNamespace(stream_id=name, attributes=attributes, topic=topic, name=name))
        for identity in destination_identities:
            self._room.side_of(identity).byte_streams[topic](reader, self.identity)
        return Writer(reader)


class FakeRoom(rtc.EventEmitter):
    """One participant's side of a room; `meet` puts two together."""

    def __init__(self, identity: str) -> None:
        super().__init__()
        self.name = "room"
        self.local_participant = Local(self, identity)
        self.remote_participants: dict[str, Local] = {}
        self.byte_streams: dict = {}
        #: RPCs that this side made, and byte streams that it sent.
        self.calls: list[tuple[str, str, str]] = []
        self.streams: list[SimpleNamespace] = []
        self.connected = True
        self._others: list[FakeRoom] = []

    def isconnected(self) -> bool:
        return self.connected

    def others(self) -> list[FakeRoom]:
        return self._others

    def side_of(self, identity: str) -> FakeRoom:
        return next(room for room in self._others if room.local_participant.identity == identity)

    def meet(self, other: FakeRoom) -> None:
        for one, two in ((self, other), (other, self)):
            one._others.append(two)
            one.remote_participants[two.local_participant.identity] = two.local_participant
            one.emit("participant_active", two.local_participant)

    def register_byte_stream_handler(self, topic: str, handler) -> None:
        self.byte_streams[topic] = handler

    async def disconnect(self) -> None:
        if self.connected:
            self.connected = False
            for other in self._others:
                other.remote_participants.pop(self.local_participant.identity, None)
                other.emit("participant_disconnected", self.local_participant)
