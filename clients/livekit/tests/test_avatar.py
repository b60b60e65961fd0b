"""The plug-in with LiveKit's own classes in rooms without LiveKit, against the real lipsync server."""

import asyncio
import json
from types import SimpleNamespace

import pytest
from lipsync_client import AsyncClient, Avatar, AvatarOptions, NotFoundError, Retries
from livekit.agents.voice.avatar import AudioSegmentEnd, AvatarRunner, DataStreamAudioOutput
from rooms import FakeRoom
from serve import PAIRS_ENOUGH, PATIENCE, SIZE, Server, bursts, eventually, mouth, offset_in_frames

from livekit import rtc
from livekit.plugins.lipsync import AvatarSession, AvatarWorker, Job, LipsyncGenerator
from livekit.plugins.lipsync.worker import submit

RATE = 24_000
PIECE = RATE // 25 * 2


def audio(pcm: bytes, rate: int = RATE) -> list[rtc.AudioFrame]:
    """Frames of 100 ms."""
    step = rate // 10 * 2
    chunks = [pcm[at : at + step] for at in range(0, len(pcm), step)]
    return [rtc.AudioFrame(chunk, rate, 1, len(chunk) // 2) for chunk in chunks]


def run(coroutine):
    asyncio.run(asyncio.wait_for(coroutine, 2 * PATIENCE))


class Agent(rtc.EventEmitter):
    """What an avatar uses of an AgentSession."""

    def __init__(self) -> None:
        super().__init__()
        self.sink = None
        self.output = SimpleNamespace(replace_audio_tail=self._replace)
        self.events: list = []

    def _replace(self, sink) -> None:
        self.sink = sink
        sink.on("playback_started", lambda event: self.events.append("started"))
        sink.on("playback_finished", self.events.append)

    async def capture(self, pcm: bytes) -> None:
        for frame in audio(pcm):
            await self.sink.capture_frame(frame)

    async def say(self, pcm: bytes) -> None:
        await self.capture(pcm)
        self.sink.flush()

    async def until(self, what: str, is_so) -> None:
        end = asyncio.get_running_loop().time() + PATIENCE
        while not is_so():
            assert asyncio.get_running_loop().time() < end, f"never happened: {what}: {self.events}"
            await asyncio.sleep(0.01)

    @property
    def finished(self) -> list:
        return [event for event in self.events if event != "started"]


@pytest.fixture
def captured(monkeypatch):
    """What is given to libwebrtc: pictures and sound."""
    seen = SimpleNamespace(pictures=[], sound=[])
    picture, sound = rtc.VideoSource.capture_frame, rtc.AudioSource.capture_frame

    def capture_picture(self, frame, **options):
        seen.pictures.append(frame)
        return picture(self, frame, **options)

    async def capture_sound(self, frame):
        seen.sound.append(bytes(frame.data))
        return await sound(self, frame)

    monkeypatch.setattr(rtc.VideoSource, "capture_frame", capture_picture)
    monkeypatch.setattr(rtc.AudioSource, "capture_frame", capture_sound)
    return seen


class Generated:
    """A generator alone, and what it yields."""

    def __init__(self, url: str, **options) -> None:
        self._client = AsyncClient(url, retries=Retries(attempts=1))
        options = {"model": "ann", "retries": Retries(first=0.1, longest=0.3), **options}
        self._avatar = Avatar(self._client, AvatarOptions(**options))

    async def __aenter__(self) -> LipsyncGenerator:
        self.generator = LipsyncGenerator(self._avatar, await self._avatar.open())
        return self.generator

    async def __aexit__(self, *_):
        await self.generator.aclose()
        await self._client.close()


async def until_end(frames) -> list:
    """What is yielded up to the end of a segment."""
    seen = []
    async for item in frames:
        seen.append(item)
        if isinstance(item, AudioSegmentEnd):
            return seen
    raise AssertionError("no end")


def sound_of(items) -> bytes:
    return b"".join(bytes(item.data) for item in items if isinstance(item, rtc.AudioFrame))


@pytest.mark.parametrize("format", ["i420", "rgb"])
def test_pictures_and_their_sound_are_in_step_and_the_segment_ends(server, format):
    async def main():
        async with Generated(server.url, format=format) as generator:
            options = generator.options
            assert (options.video_width, options.video_height, options.video_fps) == (*SIZE, 25)
            said, pairs, frames = bursts(2.0, RATE).tobytes(), [], aiter(generator)
            # A busy machine leaves pictures out.
            while len(pairs) < PAIRS_ENOUGH:
                for frame in audio(said):
                    await generator.push_audio(frame)
                await generator.push_audio(AudioSegmentEnd())
                items = await until_end(frames)
                assert sound_of(items) == said
                pairs += [
                    (bytes(two.data), mouth(bytes(one.data), format))
                    for one, two in zip(items, items[1:], strict=False)
                    if isinstance(one, rtc.VideoFrame)
                    and isinstance(two, rtc.AudioFrame)
                    and len(two.data) * 2 == PIECE
                ]
            shift = offset_in_frames(said, pairs)
            assert abs(shift) <= 1, shift

    run(main())


def test_a_picture_is_handed_on_without_a_copy(server):
    async def main():
        async with Generated(server.url) as generator:
            images = []
            items_of = generator._items_of
            generator._items_of = lambda output: images.append(getattr(output, "image", None)) or items_of(output)
            async for item in aiter(generator):
                if isinstance(item, rtc.VideoFrame):
                    assert item._data is images[-1] and item.data.obj is images[-1]
                    return

    run(main())


def test_speech_of_another_rate_is_resampled(server):
    async def main():
        async with Generated(server.url) as generator:
            for frame in audio(bursts(2.0, 16_000).tobytes(), 16_000):
                await generator.push_audio(frame)
            await generator.push_audio(AudioSegmentEnd())
            items = await until_end(aiter(generator))
            assert abs(len(sound_of(items)) / 2 / RATE - 2.0) < 0.1

    run(main())


def test_the_end_of_a_cleared_segment_is_not_the_end_of_the_next(server):
    """LiveKit's receiver sends the end of a segment also after it was cleared."""

    async def main():
        async with Generated(server.url) as generator:
            frames = aiter(generator)
            for frame in audio(bursts(5.0, RATE).tobytes()):
                await generator.push_audio(frame)
            async for item in frames:
                if isinstance(item, rtc.AudioFrame):
                    break
            clearing = asyncio.create_task(generator.clear_buffer())
            await asyncio.sleep(0)
            await generator.push_audio(AudioSegmentEnd())
            said = bursts(1.0, RATE).tobytes()
            for frame in audio(said):
                await generator.push_audio(frame)
            await generator.push_audio(AudioSegmentEnd())
            items = await until_end(frames)
            await clearing
            assert sound_of(items) == said
            assert generator.last_cut is not None and generator.last_cut.frames >= 1

    run(main())


async def begin(server, **options) -> tuple[AvatarSession, Agent, FakeRoom]:
    room, agent = FakeRoom("agent"), Agent()
    session = AvatarSession(avatar="ann", url=server.url, **options)
    await session.start(agent, room)
    return session, agent, room


def test_an_agent_speaks_and_is_told_when_it_was_played(server, captured):
    async def main():
        session, agent, room = await begin(server)
        assert session.provider == "lipsync" and session.avatar_identity == "agent"
        await session.wait_for_join(timeout=PATIENCE)
        assert len(room.local_participant.track_publications) == 2, "sound and picture"
        assert agent.sink.sample_rate == RATE and not agent.sink.can_pause
        for seconds in (1.0, 1.4):
            said = bursts(seconds, RATE).tobytes()
            captured.sound.clear()
            began = asyncio.get_running_loop().time()
            await agent.say(said)
            event = await asyncio.wait_for(agent.sink.wait_for_playout(), PATIENCE)
            took = asyncio.get_running_loop().time() - began
            assert not event.interrupted and event.playback_position == pytest.approx(seconds, abs=0.01)
            assert b"".join(captured.sound) == said
            assert took >= seconds, "told when it was played, not when it was made"
        assert [event == "started" for event in agent.events] == [True, False, True, False]
        idle = len(captured.pictures)
        await agent.until("idle frames", lambda: len(captured.pictures) > idle + 5)
        assert {frame.type for frame in captured.pictures} == {rtc.VideoBufferType.I420}
        await session.aclose()
        assert room.connected, "the agent stays in its room"
        await asyncio.to_thread(eventually, "closed", lambda: server.metric("lipsync_streams_open") == 0)

    run(main())


def test_an_interruption_is_told_once_with_what_was_played(server, captured):
    async def main():
        session, agent, _ = await begin(server)
        for _ in range(3):
            agent.events.clear()
            captured.sound.clear()
            await agent.say(bursts(10.0, RATE).tobytes())
            await agent.until("speech", lambda: sum(map(len, captured.sound)) > 15 * PIECE)
            agent.sink.clear_buffer()
            heard = sum(map(len, captured.sound))
            event = await asyncio.wait_for(agent.sink.wait_for_playout(), PATIENCE)
            assert event.interrupted
            assert event.playback_position == pytest.approx(heard / 2 / RATE, abs=0.081), "a frame or two"
            assert session.last_cut.shown_ms / 1000 == pytest.approx(event.playback_position, abs=0.121)
            await asyncio.sleep(0.3)
            assert sum(map(len, captured.sound)) <= heard + PIECE, "silent within a frame"
            # The next segment starts, ends and is told like any other.
            captured.sound.clear()
            said = bursts(0.8, RATE).tobytes()
            await agent.say(said)
            event = await asyncio.wait_for(agent.sink.wait_for_playout(), PATIENCE)
            assert not event.interrupted and event.playback_position == pytest.approx(0.8, abs=0.01)
            assert b"".join(captured.sound) == said
            assert [e if e == "started" else e.interrupted for e in agent.events] == ["started", True, "started", False]
        await session.aclose()

    run(main())


def test_what_is_cleared_before_it_was_read_or_behind_the_first_is_told_too(server):
    async def main():
        session, agent, _ = await begin(server)
        # Cleared at once: the runner has seen nothing of it.
        await agent.capture(bursts(1.0, RATE).tobytes())
        agent.sink.clear_buffer()
        agent.sink.flush()
        event = await asyncio.wait_for(agent.sink.wait_for_playout(), PATIENCE)
        assert event.interrupted and event.playback_position < 0.1
        # Three segments, one of which plays.
        for _ in range(3):
            await agent.say(bursts(3.0, RATE).tobytes())
        await agent.until("speech", lambda: agent.events[-1] == "started")
        agent.sink.clear_buffer()
        await asyncio.wait_for(agent.sink.wait_for_playout(), PATIENCE)
        assert len(agent.finished) == 4 and all(event.interrupted for event in agent.finished)
        await asyncio.sleep(1.2)
        assert len(agent.finished) == 4
        # Clearing silence tells nothing.
        agent.sink.clear_buffer()
        await asyncio.sleep(1.2)
        assert len(agent.finished) == 4
        await session.aclose()

    run(main())


def test_without_the_server_the_voice_goes_on_alone_and_the_avatar_comes_back(captured):
    server = Server()

    async def main():
        session, agent, _ = await begin(server)
        said = bursts(3.0, RATE).tobytes()
        await agent.say(said)
        await agent.until("speech", lambda: sum(map(len, captured.sound)) > 15 * PIECE)
        server.kill()
        event = await asyncio.wait_for(agent.sink.wait_for_playout(), PATIENCE)
        assert not event.interrupted and event.playback_position == pytest.approx(3.0, abs=0.01)
        assert b"".join(captured.sound) == said
        captured.sound.clear()
        captured.pictures.clear()
        await agent.say(said)
        event = await asyncio.wait_for(agent.sink.wait_for_playout(), PATIENCE)
        assert b"".join(captured.sound) == said and not captured.pictures
        await asyncio.to_thread(server.start)
        await agent.until("the avatar", lambda: len(captured.pictures) > 5)
        await session.aclose()

    try:
        run(main())
    finally:
        server.close()


def test_an_avatar_that_is_not_there_is_an_error_at_the_start(server):
    async def main():
        session = AvatarSession(avatar="nobody", url=server.url)
        with pytest.raises(NotFoundError):
            await session.start(Agent(), FakeRoom("agent"))
        await session.aclose()

    run(main())


def test_an_agent_elsewhere_sends_speech_over_the_room(server, captured, monkeypatch):
    """The wire format: `lk.audio_stream`, `lk.clear_buffer`, `lk.playback_started`, `lk.playback_finished`."""

    async def main():
        here, there, agent = FakeRoom("agent"), FakeRoom("lipsync-avatar"), Agent()
        client = AsyncClient(server.url)
        worker = AvatarWorker(client, AvatarOptions(model="-"))
        jobs: list[Job] = []

        async def dispatch(job: Job) -> None:
            jobs.append(job)
            here.meet(there)
            await worker.start(job, there)

        session = AvatarSession(avatar="ann", dispatch=dispatch)
        keys = {"livekit_api_key": "key", "livekit_api_secret": "s" * 32}
        await session.start(agent, here, livekit_url="wss://livekit.invalid", **keys)
        (job,) = jobs
        assert (job.url, job.agent, job.avatar) == ("wss://livekit.invalid", "agent", "ann")
        assert job.token not in repr(job)
        claims = claims_of(job.token)
        assert claims["sub"] == "lipsync-avatar" and claims["kind"] == "agent"
        assert claims["attributes"] == {"lk.publish_on_behalf": "agent"}
        assert claims["video"]["roomJoin"] and claims["video"]["room"] == "room"
        assert session.avatar_identity == "lipsync-avatar" and isinstance(agent.sink, DataStreamAudioOutput)

        said = bursts(1.2, RATE).tobytes()
        await agent.say(said)
        event = await asyncio.wait_for(agent.sink.wait_for_playout(), PATIENCE)
        assert not event.interrupted and event.playback_position == pytest.approx(1.2, abs=0.01)
        assert b"".join(captured.sound) == said
        (stream,) = here.streams
        assert stream.topic == "lk.audio_stream" and stream.name.startswith("AUDIO_")
        assert stream.attributes == {"sample_rate": str(RATE), "num_channels": "1"}
        assert [call[0] for call in there.calls] == ["lk.playback_started", "lk.playback_finished"]
        assert there.calls[0][1] == ""
        told = json.loads(there.calls[1][1])
        assert told["playback_position"] == pytest.approx(1.2, abs=0.01) and told["interrupted"] is False

        for _ in range(2):
            agent.events.clear()
            there.calls.clear()
            captured.sound.clear()
            await agent.say(bursts(8.0, RATE).tobytes())
            await agent.until("speech", lambda: sum(map(len, captured.sound)) > 15 * PIECE)
            agent.sink.clear_buffer()
            event = await asyncio.wait_for(agent.sink.wait_for_playout(), PATIENCE)
            assert event.interrupted and 0.5 < event.playback_position < 4.0
            assert here.calls[-1][:2] == ("lk.clear_buffer", "")
            captured.sound.clear()
            await agent.say(said)
            event = await asyncio.wait_for(agent.sink.wait_for_playout(), PATIENCE)
            assert not event.interrupted and event.playback_position == pytest.approx(1.2, abs=0.01)
            names = [call[0] for call in there.calls]
            assert names == ["lk.playback_started", "lk.playback_finished"] * 2

        # The worker leaves with its agent.
        assert worker.rooms == 1
        await session.aclose()
        await here.disconnect()
        await agent.until("the worker leaves", lambda: worker.rooms == 0)
        assert not there.connected
        await client.close()

    run(main())


def claims_of(token: str) -> dict:
    import base64

    body = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))


def test_a_worker_takes_jobs_over_http_with_a_token(server, monkeypatch):
    import aiohttp
    from aiohttp.test_utils import TestServer

    async def main():
        client = AsyncClient(server.url)
        worker = AvatarWorker(client, AvatarOptions(model="-"), rooms_max=1)
        room, agent = FakeRoom("lipsync-avatar"), FakeRoom("agent")
        room.meet(agent)
        monkeypatch.setattr(rtc, "Room", lambda: room)
        job = Job(url="wss://livekit.invalid", token="t", agent="agent", avatar="ann")
        async with TestServer(worker.application("secret")) as web, aiohttp.ClientSession() as http:
            url = str(web.make_url("/")).rstrip("/")
            with pytest.raises(RuntimeError, match="401"):
                await submit(http, url, "wrong", job)
            async with http.post(url + "/jobs", json={"url": 1}, headers={"authorization": "Bearer secret"}) as answer:
                assert answer.status == 400 and "token" in await answer.text()
            with pytest.raises(RuntimeError, match="502.*nobody"):
                await submit(http, url, "secret", Job("wss://livekit.invalid", "t", "agent", "nobody"))
            room.connected = True
            await submit(http, url, "secret", job)
            with pytest.raises(RuntimeError, match="503"):
                await submit(http, url, "secret", job)
            async with http.get(url + "/healthz") as answer:
                assert await answer.json() == {"rooms": 1, "rooms_max": 1}
        assert worker.rooms == 0
        await client.close()

    run(main())


def test_a_format_that_livekit_does_not_take_is_refused(server):
    async def main():
        async with AsyncClient(server.url) as client:
            avatar = Avatar(client, AvatarOptions(model="ann", format="jpeg"))
            with pytest.raises(ValueError, match="i420 or rgb"):
                LipsyncGenerator(avatar, await avatar.open())
            await avatar.aclose()

    run(main())


def test_the_runner_is_livekits_own(server):
    async def main():
        session, _, _ = await begin(server)
        assert type(session._runner) is AvatarRunner
        await session.aclose()

    run(main())
