"""The rules of picture and sound, without a clock or a server."""

import numpy as np

from lipsync_client.messages import Frame
from lipsync_client.pairing import Pairing, Picture, Sound, Spoken, Voice

RATE = 1_000
#: 40 ms of 16-bit samples.
PIECE = 80
SOUND = Sound(sample_rate=RATE, sample_bytes=2, fps=25)


def pcm(frames: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(frames * PIECE)


def speech(utterance: int, frame: int) -> Frame:
    return Frame(0, 0.0, 0, 0, True, b"s%d" % frame, utterance, frame)


IDLE = Frame(0, 0.0, 0, 0, False, b"idle")


def played(outputs) -> bytes:
    return b"".join(output.audio for output in outputs if not isinstance(output, Spoken))


def test_every_picture_has_its_own_sound_and_all_sound_is_played():
    pairing, said, out = Pairing(SOUND, buffer=1), pcm(10), []
    pairing.audio(said)
    assert pairing.end() == 0
    for frame in range(10):
        out += pairing.picture(speech(0, frame), frame * 0.04)
    assert [o.frame for o in out] == list(range(9)), "one is held back"
    out += pairing.utterance_end(0, 0.4)
    out += pairing.tick(1.0)
    pictures = [o for o in out if isinstance(o, Picture)]
    assert [p.audio for p in pictures] == [said[PIECE * n :][:PIECE] for n in range(10)]
    assert out[-1] == Spoken(0)
    assert pairing.due is None and pairing.pending == 0


def test_frames_past_the_sound_and_sound_past_the_frames_are_given_out():
    for frames, sound in ((4, 3.5), (3, 4.5)):
        pairing = Pairing(SOUND, buffer=0)
        said = pcm(5)[: int(sound * PIECE)]
        pairing.audio(said)
        pairing.end()
        out = []
        for frame in range(frames):
            out += pairing.picture(speech(0, frame), frame * 0.04)
        out += pairing.utterance_end(0, frames * 0.04)
        out += pairing.tick(10.0)
        assert played(out) == said
        assert len([o for o in out if isinstance(o, Picture)]) == frames
        assert out[-1] == Spoken(0)


def test_the_sound_does_not_wait_for_a_picture_that_was_left_out():
    pairing, said, out = Pairing(SOUND, buffer=1), pcm(6), []
    pairing.audio(said)
    pairing.end()
    out += pairing.picture(speech(0, 0), 0.0)
    out += pairing.picture(speech(0, 1), 0.04)
    # 2 and 3 do not come.
    out += pairing.tick(0.085)
    out += pairing.tick(0.125)
    assert isinstance(out[-1], Voice) and out[-1].audio == said[2 * PIECE : 3 * PIECE]
    out += pairing.picture(speech(0, 4), 0.16)
    out += pairing.tick(0.165)
    out += pairing.picture(speech(0, 5), 0.20)
    out += pairing.tick(0.245)
    kinds = [type(o).__name__ for o in out]
    assert kinds == ["Picture", "Picture", "Voice", "Voice", "Picture", "Picture"]
    assert [o.frame for o in out if isinstance(o, Picture)] == [0, 1, 4, 5]
    assert played(out) == said


def test_a_network_that_got_slower_makes_the_sound_wait_once():
    pairing, said, out = Pairing(SOUND, buffer=1), pcm(20), []
    pairing.audio(said)
    pairing.end()
    now = 0.0
    for frame in range(20):
        arrives = frame * 0.04 + (0.1 if frame >= 5 else 0.0)
        while now < arrives:
            now = min(now + 0.01, arrives)
            out += pairing.tick(now)
        out += pairing.picture(speech(0, frame), now)
    out += pairing.utterance_end(0, now)
    out += pairing.tick(now + 1)
    paired = [o.frame for o in out if isinstance(o, Picture) and o.audio]
    # Two or three frames' sound went alone; those after it have their own again.
    assert paired[-12:] == list(range(8, 20)) and len(paired) >= 16
    for picture in out:
        if isinstance(picture, Picture) and picture.audio:
            assert picture.audio == said[picture.frame * PIECE :][:PIECE]
    assert played(out) == said


def test_sound_that_comes_too_late_is_waited_for():
    pairing, said, out = Pairing(SOUND, buffer=0), pcm(6), []
    pairing.audio(said[: 3 * PIECE])
    for frame in range(3):
        out += pairing.picture(speech(0, frame), frame * 0.04)
    # The server fills the gap with idle frames, and goes on where it stopped.
    out += pairing.picture(IDLE, 0.12)
    pairing.audio(said[3 * PIECE :])
    out += pairing.picture(IDLE, 0.16)
    assert out[-1].image == b"idle" and pairing.due is None
    pairing.end()
    for frame in range(3, 6):
        out += pairing.picture(speech(0, frame), 0.4 + frame * 0.04)
    out += pairing.utterance_end(0, 1.0)
    assert [o.frame for o in out if isinstance(o, Picture) and o.speech] == list(range(6))
    assert played(out) == said


def test_an_interrupt_drops_all():
    pairing = Pairing(SOUND, buffer=0)
    pairing.audio(pcm(10))
    out = []
    for frame in range(4):
        out += pairing.picture(speech(0, frame), frame * 0.04)
    assert pairing.speaking == 0 and len(out) == 4
    pairing.interrupt(following=1)
    assert pairing.speaking is None and pairing.pending == 0
    # What was on the way is not shown.
    assert pairing.picture(speech(0, 4), 0.16) == []
    assert [o.image for o in pairing.picture(IDLE, 0.2)] == [b"idle"]
    pairing.audio(pcm(1, seed=1))
    assert pairing.end() == 1
    (first,) = pairing.picture(speech(1, 0), 0.3)
    assert first.audio == pcm(1, seed=1)


def test_utterances_that_follow_each_other_stay_apart():
    pairing, first, second, out = Pairing(SOUND, buffer=1), pcm(3, 1), pcm(3, 2), []
    pairing.audio(first)
    pairing.end()
    pairing.audio(second)
    pairing.end()
    now = 0.0
    for utterance in (0, 1):
        for frame in range(3):
            out += pairing.picture(speech(utterance, frame), now)
            now += 0.04
        out += pairing.utterance_end(utterance, now - 0.01)
    out += pairing.tick(now + 1)
    ends = [i for i, o in enumerate(out) if isinstance(o, Spoken)]
    assert played(out[: ends[0]]) == first and played(out[ends[0] :]) == second
    assert [out[i].utterance for i in ends] == [0, 1]


def test_what_is_left_goes_out_as_voice_alone():
    pairing, said = Pairing(SOUND, buffer=1), pcm(7)
    pairing.audio(said[: 5 * PIECE])
    pairing.end()
    pairing.audio(said[5 * PIECE :])
    out = pairing.picture(speech(0, 0), 0.0) + pairing.flush()
    assert played(out) == said
    assert all(isinstance(o, (Voice, Spoken)) for o in out)
    assert [o.utterance for o in out if isinstance(o, Spoken)] == [0], "the second has not ended"


def test_an_utterance_whose_pictures_never_come_is_heard():
    pairing, said = Pairing(SOUND, buffer=1, patience=2.0), pcm(30)
    pairing.audio(said)
    pairing.end()
    assert pairing.tick(0.0) == [] and pairing.due == 2.0
    out = pairing.tick(2.0)
    for step in range(40):
        out += pairing.tick(2.0 + step * 0.04)
    assert played(out) == said
    out += pairing.utterance_end(0, 4.0)
    assert out[-1] == Spoken(0)
