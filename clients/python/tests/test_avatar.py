"""Sound in, pictures with their sound out, against the real server: in step, interrupted, killed, restarted, hung."""

import asyncio
import signal
import threading

import pytest
from serve import PAIRS_ENOUGH, PATIENCE, Server, bursts, free_port, loudness, mouth, offset_in_frames

from lipsync_client import (
    AsyncClient,
    Avatar,
    AvatarOptions,
    Back,
    Cut,
    LipsyncError,
    Lost,
    NotFoundError,
    Picture,
    Retries,
    Spoken,
    Voice,
)

RATE = 24_000
#: 40 ms of 16-bit samples.
PIECE = RATE // 25 * 2


class Stage:
    """An avatar, and all that it gave out."""

    def __init__(self, url: str, **options) -> None:
        self._client = AsyncClient(url, retries=Retries(attempts=1))
        options = {"model": "ann", "retries": Retries(first=0.1, longest=0.3), **options}
        self.avatar = Avatar(self._client, AvatarOptions(**options))
        self.seen: list = []

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.avatar.aclose()
        await self._client.close()

    async def until(self, wanted) -> list:
        """The outputs up to the one that is `wanted`."""
        since = len(self.seen)
        async for output in self.avatar:
            self.seen.append(output)
            if wanted(output):
                return self.seen[since:]
        raise AssertionError("the avatar ended")

    async def say(self, pcm: bytes) -> int:
        for start in range(0, len(pcm), 5000):
            await self.avatar.push(pcm[start : start + 5000])
        return self.avatar.end_of_speech()


def spoken(utterance: int):
    return lambda output: output == Spoken(utterance)


def in_speech(frame: int):
    return lambda output: isinstance(output, Picture) and output.speech and output.frame >= frame


def sound(outputs) -> bytes:
    return b"".join(output.audio for output in outputs if isinstance(output, (Picture, Voice)))


def run(coroutine):
    asyncio.run(asyncio.wait_for(coroutine, 2 * PATIENCE))


def test_picture_and_sound_are_in_step_and_no_sample_is_lost(server):
    async def main():
        async with Stage(server.url) as stage:
            started = await stage.avatar.open()
            assert (started.width, started.height, started.fps) == (96, 64, 25)
            said, pairs, utterance = bursts(2.4, RATE).tobytes(), [], 0
            # A busy machine leaves pictures out.
            while len(pairs) < PAIRS_ENOUGH:
                assert await stage.say(said) == utterance
                outputs = await stage.until(spoken(utterance))
                assert sound(outputs) == said
                pictures = [o for o in outputs if isinstance(o, Picture) and o.speech and len(o.audio) == PIECE]
                pairs += [(picture.audio, mouth(picture.image)) for picture in pictures]
                utterance += 1
            shift = offset_in_frames(said, pairs)
            assert abs(shift) <= 1, shift
            idle = await stage.until(lambda output: isinstance(output, Picture) and not output.speech)
            assert idle[-1].audio == b""

    run(main())


@pytest.mark.parametrize("ahead", [10.0, 0.5])
def test_an_interrupt_is_heard_at_once_and_numbers_stay(server, ahead):
    """With little sent ahead, an utterance is cut of which the server has only a part, or nothing."""

    async def main():
        async with Stage(server.url, ahead_max=ahead) as stage:
            await stage.avatar.open()
            await stage.say(bursts(3.0, RATE).tobytes())
            await stage.say(bursts(3.0, RATE).tobytes())
            await stage.avatar.push(bursts(3.0, RATE).tobytes())
            outputs = await stage.until(in_speech(10))
            cut = stage.avatar.interrupt()
            shown = len(sound(outputs)) // PIECE
            assert cut == Cut(utterance=0, frames=shown, shown_ms=40 * shown)
            assert stage.avatar.interrupt() is None
            said = bursts(1.0, RATE).tobytes()
            utterance = await stage.say(said)
            assert utterance == 3, "two ended, one was cut"
            outputs = await stage.until(spoken(utterance))
            assert sound(outputs) == said, "nothing of earlier sound"
            assert {o.utterance for o in outputs if isinstance(o, Picture) and o.speech} == {3}

    run(main())


def test_silence_and_interrupts_of_nothing(server):
    async def main():
        async with Stage(server.url) as stage:
            await stage.avatar.open()
            assert stage.avatar.interrupt() is None
            assert stage.avatar.end_of_speech() == 0
            await stage.until(spoken(0))
            assert await stage.say(bytes(PIECE // 2)) == 1
            assert sound(await stage.until(spoken(1))) == bytes(PIECE // 2)

    run(main())


def test_without_the_server_the_voice_goes_on_alone_and_the_avatar_comes_back():
    server = Server()

    async def main():
        async with Stage(server.url) as stage:
            await stage.avatar.open()
            said = bursts(4.0, RATE).tobytes()
            await stage.avatar.push(said[: len(said) // 2])
            outputs = await stage.until(in_speech(5))
            server.kill()
            outputs += await stage.until(lambda output: isinstance(output, Lost))
            await stage.avatar.push(said[len(said) // 2 :])
            assert stage.avatar.end_of_speech() == 0
            outputs += await stage.until(spoken(0))
            assert sound(outputs) == said
            assert not stage.avatar.is_connected
            # A second utterance while it is gone; one word about it.
            assert await stage.say(said) == 1
            outputs = await stage.until(spoken(1))
            assert sound(outputs) == said and not any(isinstance(o, Picture) for o in outputs)
            # It comes back in the midst of an utterance, which ends as it began.
            await stage.avatar.push(said[: len(said) // 2])
            await asyncio.to_thread(server.start)
            outputs = await stage.until(lambda output: isinstance(output, Back))
            await stage.avatar.push(said[len(said) // 2 :])
            assert stage.avatar.end_of_speech() == 2
            outputs += await stage.until(spoken(2))
            assert sound(outputs) == said and not any(isinstance(o, Picture) and o.speech for o in outputs)
            assert await stage.say(said) == 3
            outputs = await stage.until(spoken(3))
            assert sound(outputs) == said and any(isinstance(o, Picture) and o.speech for o in outputs)
            assert {o.utterance for o in outputs if isinstance(o, Picture) and o.speech} == {3}
            assert sum(isinstance(output, Lost) for output in stage.seen) == 1

    try:
        run(main())
    finally:
        server.close()


def test_a_server_that_hangs_counts_as_gone():
    server = Server()

    async def main():
        async with Stage(server.url, patience=1.0) as stage:
            await stage.avatar.open()
            said = bursts(2.0, RATE).tobytes()
            await stage.avatar.push(said)
            await stage.until(in_speech(3))
            server.signal(signal.SIGSTOP)
            outputs = await stage.until(lambda output: isinstance(output, Lost))
            assert "1 s" in outputs[-1].error.message
            threading.Timer(0.5, server.signal, [signal.SIGCONT]).start()
            await stage.until(lambda output: isinstance(output, Back))
            stage.avatar.end_of_speech()
            await stage.until(spoken(0))
            assert sound(stage.seen) == said

    try:
        run(main())
    finally:
        server.signal(signal.SIGCONT)
        server.close()


def test_what_cannot_be_opened_is_an_error_or_the_voice_alone(server):
    async def main():
        async with Stage(server.url, model="nobody") as stage:
            with pytest.raises(NotFoundError):
                await stage.avatar.open()
        async with Stage(f"127.0.0.1:{free_port()}") as stage:
            stage.avatar.begin()
            said = bursts(0.5, RATE).tobytes()
            assert await stage.say(said) == 0
            outputs = await stage.until(spoken(0))
            outputs += await stage.until(lambda output: isinstance(output, Lost))
            assert sound(outputs) == said and isinstance(outputs[-1].error, LipsyncError)

    run(main())


def test_a_consumer_that_is_too_slow_loses_pictures_and_no_sound(server):
    async def main():
        async with Stage(server.url) as stage:
            await stage.avatar.open()
            said = bursts(3.0, RATE).tobytes()
            await stage.say(said)
            await asyncio.sleep(4.5)
            outputs = await stage.until(spoken(0))
            assert sound(outputs) == said
            assert sum(isinstance(output, Picture) for output in outputs) <= 26

    run(main())


def test_many_avatars_in_one_process(server):
    async def one(number: int):
        async with Stage(server.url, model="ann") as stage:
            await stage.avatar.open()
            said = bursts(1.0 + number / 10, RATE).tobytes()
            await stage.say(said)
            assert sound(await stage.until(spoken(0))) == said

    async def main():
        await asyncio.gather(*(one(number) for number in range(6)))

    run(main())


@pytest.mark.parametrize("wrong", [{"sample_rate": 1}, {"channels": 0}, {"ahead_max": 0}, {"format": "gif"}])
def test_options_that_are_wrong_are_refused(wrong):
    with pytest.raises(ValueError):
        AvatarOptions(model="ann", **wrong)


def test_a_mouth_that_is_late_is_seen_to_be():
    said = bursts(4.0, RATE).tobytes()
    pieces = [said[at : at + PIECE] for at in range(0, len(said), PIECE)]
    for late in (-2, 0, 3):
        # Every third picture was left out.
        pairs = [(pieces[n], loudness(pieces[n - late])) for n in range(5, 95) if n % 3]
        assert offset_in_frames(said, pairs) == late


def test_what_is_interrupted_before_it_began_is_told(server):
    async def main():
        async with Stage(server.url) as stage:
            await stage.avatar.open()
            await stage.say(bytes(PIECE * 50))
            assert stage.avatar.interrupt() == Cut(0, 0, 0)

    run(main())
