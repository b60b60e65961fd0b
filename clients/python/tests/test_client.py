"""Every call and every error of both clients, against the real server."""

import asyncio
import inspect
import socket
import threading
import time

import grpc
import numpy as np
import pytest
from serve import NETWORKS, PATIENCE, SIZE, Server, bursts, eventually, free_port

import lipsync_client as lc
from lipsync_client.requests import VISUAL_LEN, WINDOW_LEN

WIDTH, HEIGHT = SIZE
QUIET = np.full((32, 16, 16), 0.25, np.float32)


class Blocking:
    """The asyncio client, called like the other one: both do the same, so both run the same tests."""

    def __init__(self, url: str, **options) -> None:
        self._loop = asyncio.new_event_loop()
        self._client = lc.AsyncClient(url, **options)

    def __getattr__(self, name: str):
        method = getattr(self._client, name)
        if not inspect.iscoroutinefunction(method):
            return method
        return lambda *args, **kw: self._loop.run_until_complete(method(*args, **kw))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._loop.run_until_complete(self._client.close())
        self._loop.close()


@pytest.fixture(params=[lc.Client, Blocking], ids=["sync", "asyncio"])
def connect(request):
    return request.param


def test_models_are_listed_loaded_counted_and_unloaded(server, connect):
    with connect(server.url) as client:
        client.unload("bob")
        before = {model.id: model for model in client.models()}
        assert set(before) == {"ann", "bob"} and before["bob"].status == "unloaded"
        assert before["bob"].hears and before["bob"].fps == 25 and not before["bob"].loaded
        loaded = client.load("bob")
        assert loaded.memory_bytes > 0 and loaded.loads >= 1
        assert client.load("bob", force=True).loads == loaded.loads + 1
        frames = client.stats("bob").models[0].lifetime_stats.frames
        client.infer_batch("bob", QUIET, batch_size=3)
        stats = client.stats("bob")
        (bob,) = stats.models
        assert bob.loaded and bob.status == "ready" and bob.leases == 0
        assert (bob.width, bob.height, bob.backgrounds) == (WIDTH, HEIGHT, 3)
        assert bob.lifetime_stats.frames == frames + 3 and bob.stats.inference_seconds > 0
        assert stats.models_max == 2 and stats.models_loaded >= 1 and 0 < stats.memory_bytes <= stats.memory_bytes_max
        assert len(client.stats().models) == 2
        health = client.health()
        assert health.healthy and not health.cuda and health.version
        info = client.server_info()
        assert info.engine == "rten" and info.loads >= 2
        client.unload("bob")
        assert not client.stats("bob").models[0].loaded


def test_frames_come_in_every_format(server, connect):
    with connect(server.url) as client:
        rgb = client.infer_batch("bob", QUIET, batch_size=4, format="rgb")
        assert [frame.shape for frame in rgb.frames] == [(HEIGHT, WIDTH, 3)] * 4
        assert rgb.backgrounds == (0, 1, 2, 1)
        assert np.array_equal(rgb.frames[1], rgb.frames[3])
        assert not np.array_equal(rgb.frames[0], rgb.frames[1])
        assert rgb.total > 0 and rgb.inference > 0 and rgb.composite > 0
        png = client.infer_batch("bob", QUIET)
        assert len(png.frames) == 1 and png.frames[0].startswith(b"\x89PNG") and png.load is None
        jpeg = client.infer_batch("bob", QUIET, format=lc.Format.JPEG, jpeg_quality=50)
        assert jpeg.frames[0].startswith(b"\xff\xd8")
        i420 = client.infer_batch("bob", QUIET, start_frame=2, format="i420")
        assert i420.backgrounds == (2,)
        y, u, v = lc.i420_planes(i420.frames[0], WIDTH, HEIGHT)
        assert y.shape == (HEIGHT, WIDTH) and u.shape == v.shape == (HEIGHT // 2, WIDTH // 2)
        expected = 16 + rgb.frames[2].astype(float) @ np.array([0.2126, 0.7152, 0.0722]) * 219 / 255
        assert np.abs(y - expected).max() < 1


def test_a_window_for_each_frame_and_tensors_of_ones_own(server, connect):
    with connect(server.url) as client:
        windows = np.stack([QUIET, QUIET * -6])
        both = client.infer_batch("bob", windows, format="rgb").frames
        apart = [client.infer_batch("bob", w, start_frame=i, format="rgb").frames[0] for i, w in enumerate(windows)]
        assert all(np.array_equal(a, b) for a, b in zip(both, apart, strict=True))
        bright = client.infer_batch("bob", QUIET, visual_frames=np.ones((1, 6, 320, 320)), format="rgb").frames[0]
        assert not np.array_equal(bright, both[0])


def test_a_batch_of_61_megabytes_is_quick_and_is_not_mixed_up(server, connect):
    frames = 25
    visual = np.empty((frames, VISUAL_LEN), np.float32)
    visual[:] = np.arange(frames)[:, None] / frames
    assert visual.nbytes > 61_000_000
    with connect(server.url) as client:
        batch = client.infer_batch("bob", QUIET, visual_frames=visual, format="rgb", timeout=PATIENCE)
        assert len(batch.frames) == frames
        for index in (0, 7, 24):
            single = client.infer_batch(
                "bob", QUIET, visual_frames=visual[index], start_frame=index, format="rgb", timeout=PATIENCE
            )
            assert np.array_equal(single.frames[0], batch.frames[index])


def test_errors_are_exceptions_that_say_what_is_wrong(server, connect):
    with connect(server.url) as client:
        with pytest.raises(lc.NotFoundError) as caught:
            client.load("nobody")
        assert caught.value.code is grpc.StatusCode.NOT_FOUND and "nobody" in caught.value.message
        assert caught.value.reason
        with pytest.raises(lc.InvalidRequestError) as caught:
            client.infer_batch("bob", QUIET, batch_size=26, jpeg_quality=200)
        fields = {violation.field: violation.description for violation in caught.value.field_violations}
        assert "jpeg_quality" in fields or "batch_size" in fields
        assert all(fields.values())
        with pytest.raises(lc.InvalidRequestError):
            client.infer_batch("bob", QUIET, start_frame=-1)
        with pytest.raises(ValueError, match="one is 8192"):
            client.infer_batch("bob", np.zeros(WINDOW_LEN - 1))
        with pytest.raises(ValueError):
            client.infer_batch("bob", QUIET, format="gif")
        with pytest.raises(lc.TimedOutError):
            client.infer_batch("bob", np.tile(QUIET, (25, 1, 1, 1)), timeout=0.001)


@pytest.mark.parametrize("url", ["", "ftp://host:1", "http://", "host:port", "http://host:1/path"])
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(ValueError):
        lc.Client(url)


def test_tls_and_an_address_without_it_exclude_each_other():
    with pytest.raises(ValueError, match="https://"):
        lc.Client("http://host:1", tls=True)


def test_tokens_rights_and_broken_models(connect, tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text("user u user-token-0123456789\nadmin a admin-token-0123456789\n")
    broken = (
        f"  nan:\n    model_path: '{NETWORKS}/generator_nan.onnx'\n"
        "    background_dir: bob\n    crop_rects_path: bob.json\n"
        f"  wrong:\n    model_path: '{NETWORKS}/generator_wrong_shape.onnx'\n"
        "    background_dir: bob\n    crop_rects_path: bob.json\n"
    )
    server = Server(server=f"tokens_file: '{tokens}'\nmax_streams: 1", models=broken)
    try:
        with connect(server.url) as client, pytest.raises(lc.AuthError) as caught:
            client.models()
        assert caught.value.code is grpc.StatusCode.UNAUTHENTICATED
        with connect(server.url, token="user-token-0123456789") as client:
            assert len(client.models()) == 4
            with pytest.raises(lc.AuthError) as caught:
                client.load("bob")
            assert caught.value.code is grpc.StatusCode.PERMISSION_DENIED
            with pytest.raises(lc.UnusableModelError):
                client.infer_batch("wrong", QUIET)
            with pytest.raises(lc.ServerError):
                client.infer_batch("nan", QUIET)
        # The one place for a stream is taken: the second is told when to come again.
        with lc.Client(server.url, token="user-token-0123456789", retries=lc.Retries(attempts=1)) as client:
            with client.talk("bob", realtime=False), pytest.raises(lc.BusyError) as caught, client.talk("bob"):
                pass
            assert caught.value.retry_delay is not None
    finally:
        server.close()


def test_a_server_that_is_not_there_is_tried_again_with_pauses_and_then_an_error(connect):
    pauses = []

    class Counted(lc.Retries):
        def pause(self, error, attempt):
            pauses.append(super().pause(error, attempt))
            return pauses[-1]

    with connect(f"127.0.0.1:{free_port()}", retries=Counted(attempts=3, first=0.05)) as client:
        with pytest.raises(lc.UnavailableError):
            client.models()
        assert pauses[2] is None and 0 < pauses[0] <= 0.05 and 0 < pauses[1] <= 0.1
        with pytest.raises(lc.UnavailableError):
            client.load("bob", force=True)
        assert len(pauses) == 3, "what is not safe to repeat is not repeated"


def test_a_server_that_restarts_is_found_again(connect):
    server = Server()
    try:
        with connect(server.url, retries=lc.Retries(attempts=60, longest=1.0)) as client:
            assert client.health().healthy
            server.kill()
            threading.Timer(0.5, server.start).start()
            assert client.health().healthy
    finally:
        server.close()


def test_pauses_grow_are_random_and_have_an_end():
    retries = lc.Retries(attempts=100, first=0.1, longest=2.0)
    gone = lc.UnavailableError("gone")
    for attempt, ceiling in ((0, 0.1), (1, 0.2), (3, 0.8), (40, 2.0)):
        drawn = {retries.pause(gone, attempt) for _ in range(20)}
        assert len(drawn) > 10 and all(ceiling / 4 <= pause <= ceiling for pause in drawn)
    assert retries.pause(gone, 99) is None
    assert 0.5 <= retries.pause(lc.BusyError("", retry_delay=0.5), 0) <= 0.6
    assert retries.pause(lc.BusyError("", retry_delay=60), 0) is None
    assert retries.pause(lc.BusyError(""), 0) is None
    assert retries.pause(lc.NotFoundError(""), 0) is None


def speech(seconds: float = 1.0) -> bytes:
    return bursts(seconds, 16_000).tobytes()


def test_a_stream_of_a_client_without_an_event_loop(server):
    with lc.Client(server.url) as client, client.talk("ann", format="rgb", realtime=False) as session:
        assert (session.started.fps, session.started.width, session.started.height) == (25, WIDTH, HEIGHT)
        session.push(speech())
        session.end_of_speech()
        session.push(np.zeros(3200, np.int16))
        session.finish()
        events = list(session)
    frames = [event for event in events if isinstance(event, lc.Frame)]
    assert [frame.index for frame in frames] == list(range(len(frames)))
    ends = [event.utterance for event in events if isinstance(event, lc.UtteranceEnd)]
    assert ends == [0, 1] and isinstance(events[-1], lc.Summary)
    assert events[-1].speech_frames == len(frames) and events[-1].utterances == 2


def test_a_sync_push_ends_with_the_streams_error(server):
    with lc.Client(server.url) as client, client.talk("ann", floats=True, realtime=False) as session:
        session.push(np.full(16, np.nan, "<f4"))
        with pytest.raises(lc.InvalidRequestError):
            list(session)
        with pytest.raises(lc.InvalidRequestError):
            for _ in range(100):
                session.push(np.zeros(16, "<f4"))
        with pytest.raises(TypeError, match="float32"):
            session.push(np.zeros(16, "<i2"))


def run(coroutine):
    asyncio.run(asyncio.wait_for(coroutine, PATIENCE))


def test_a_stream_is_interrupted_and_goes_on(server):
    async def main():
        async with lc.AsyncClient(server.url) as client, client.talk("ann", format="i420") as session:
            await session.push(speech(20.0))
            assert session.ahead == pytest.approx(20.0)
            async for event in session:
                if isinstance(event, lc.Frame) and event.speech and event.utterance_frame >= 5:
                    break
            assert session.ahead < 20.0
            await session.interrupt()
            assert session.utterance == 1 and session.ahead == 0
            async for event in session:
                if isinstance(event, lc.Interrupted):
                    break
            assert event.utterance == 0 and event.frames >= 6 and event.shown_ms == pytest.approx(event.frames * 40)
            await session.push(speech(0.5))
            assert await session.end_of_speech() == 1
            async for event in session:
                assert not (isinstance(event, lc.Frame) and event.speech and event.utterance != 1)
                if isinstance(event, lc.UtteranceEnd):
                    break
            assert event.utterance == 1 and session.ahead == 0
            await session.finish()
            events = [event async for event in session]
            assert isinstance(events[-1], lc.Summary)

    run(main())


def test_a_stream_that_is_left_or_cancelled_frees_its_lease(server):
    def leases() -> int:
        with lc.Client(server.url) as client:
            return client.stats("ann").models[0].leases

    async def talk(client: lc.AsyncClient):
        async with client.talk("ann") as session:
            await session.push(speech(30.0))
            async for event in session:
                if isinstance(event, lc.Frame) and event.speech:
                    return session

    async def main():
        async with lc.AsyncClient(server.url) as client:
            session = await talk(client)
            assert [event async for event in session] == []
            await asyncio.to_thread(eventually, "left", lambda: leases() == 0)
            async with client.talk("ann") as session:
                reading = asyncio.create_task(anext_forever(session))
                await asyncio.to_thread(eventually, "leased", lambda: leases() == 1)
                reading.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await reading
            await asyncio.to_thread(eventually, "cancelled", lambda: leases() == 0)

    async def anext_forever(session):
        async for _ in session:
            pass

    run(main())
    eventually("streams", lambda: server.metric("lipsync_streams_open") == 0)


def test_a_push_waits_for_a_server_that_has_enough(server):
    async def main():
        async with lc.AsyncClient(server.url) as client, client.talk("ann", format="rgb", realtime=False) as session:
            # Nobody reads: the server holds its frames back, then its audio, then the client.
            minute = bytes(60 * 32_000)
            with pytest.raises(asyncio.TimeoutError):
                for _ in range(60):
                    await asyncio.wait_for(session.push(minute), 2.0)

    run(main())


def test_a_start_that_is_wrong_names_its_fields(server):
    async def main():
        async with lc.AsyncClient(server.url) as client:
            with pytest.raises(lc.InvalidRequestError) as caught:
                async with client.talk("ann", sample_rate=5, lookahead=99):
                    pass
            assert {v.field for v in caught.value.field_violations} == {"sample_rate_hz", "lookahead"}
            with pytest.raises(lc.NotFoundError):
                async with client.talk("nobody"):
                    pass
            async with client.talk("ann") as session:
                await session.push(b"\0")
                await session.end_of_speech()
                with pytest.raises(lc.InvalidRequestError):
                    async for _ in session:
                        pass
                with pytest.raises(lc.LipsyncError):
                    for _ in range(100):
                        await session.push(b"\0\0")

    run(main())


def test_a_server_that_does_not_answer_is_an_error():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"127.0.0.1:{listening.getsockname()[1]}"

        async def main():
            began = time.monotonic()
            async with lc.AsyncClient(url, timeout=0.5, retries=lc.Retries(attempts=1)) as client:
                with pytest.raises(lc.LipsyncError):
                    async with client.talk("ann"):
                        pass
            assert time.monotonic() - began < PATIENCE / 2

        run(main())


def test_a_drain_ends_a_stream_with_its_summary_and_an_error():
    server = Server()
    try:

        async def main():
            async with lc.AsyncClient(server.url) as client, client.talk("ann") as session:
                stopping = asyncio.create_task(asyncio.to_thread(server.stop))
                events = []
                with pytest.raises(lc.UnavailableError):
                    async for event in session:
                        events.append(event)
                assert isinstance(events[-1], lc.Summary)
                await stopping

        run(main())
    finally:
        server.close()
