"""Which sound belongs to which picture, and when both are given out.

The server sends pictures that say which frame of which utterance they are; the sound is the client's own. Frame `n`
goes with the `n`th piece of its utterance, whatever was left out or came late, so picture and sound cannot drift.
Nothing here waits or reads a clock: every rule is a function of what came and of the time it is told.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Union

from .messages import Frame


@dataclass(frozen=True)
class Picture:
    """A picture to show, and the sound that begins with it; idle pictures have none."""

    image: bytes = field(repr=False)
    audio: bytes = field(repr=False)
    speech: bool
    utterance: int = 0
    frame: int = 0


@dataclass(frozen=True)
class Voice:
    """Sound whose picture was left out, is late, or will not come: the picture before it stays."""

    audio: bytes = field(repr=False)
    utterance: int


@dataclass(frozen=True)
class Spoken:
    """All of an utterance was given out."""

    utterance: int


Paired = Union[Picture, Voice, Spoken]


@dataclass(frozen=True)
class Sound:
    """What the pieces are cut by."""

    sample_rate: int
    #: Bytes of one sample of all channels.
    sample_bytes: int
    fps: int

    def end_of(self, frame: int) -> int:
        """Where in an utterance, in bytes, the sound of this frame ends."""
        return (frame + 1) * self.sample_rate // self.fps * self.sample_bytes

    def seconds(self, length: int) -> float:
        return length / (self.sample_rate * self.sample_bytes)


@dataclass
class _Track:
    """The sound of one utterance."""

    number: int
    pcm: bytearray = field(default_factory=bytearray, repr=False)
    #: Bytes that were let go of in front of `pcm`.
    given: int = 0
    #: The next frame to give out.
    next: int = 0
    #: All its sound is here.
    ended: bool = False
    #: All its pictures came.
    complete: bool = False
    #: When frame 0 is to be given out; None until its first picture came, and while it stands still.
    start: float | None = None
    #: Since when a first picture could be there; None while too little of its sound is here.
    waits_since: float | None = None

    def piece(self, end: int) -> bytes:
        length = min(max(0, end - self.given), len(self.pcm))
        piece = bytes(self.pcm[:length])
        del self.pcm[:length]
        self.given += length
        return piece


class Pairing:
    """Pictures and sound of a paced stream, in step.

    Pictures are held back for `buffer` frames, so that one that comes a little late still has its sound beside it.
    The sound does not wait for a picture that does not come; for the first of an utterance, `patience` seconds.
    """

    def __init__(self, sound: Sound, buffer: int, patience: float = 5.0) -> None:
        self._sound = sound
        self._delay = buffer / sound.fps
        self._patience = patience
        #: The utterance that new sound belongs to.
        self.writing = 0
        self._tracks: deque[_Track] = deque()
        self._held: deque[Frame] = deque()
        self._idle: Frame | None = None

    # What comes in.

    def audio(self, pcm: bytes) -> None:
        """Takes sound of the utterance at hand."""
        self._track(self.writing).pcm += pcm

    def end(self) -> int:
        """Ends the utterance at hand; gives its number."""
        self._track(self.writing).ended = True
        self.writing += 1
        return self.writing - 1

    def interrupt(self, following: int) -> None:
        """Drops everything; `following` is the next utterance's number."""
        self.writing = following
        self._tracks.clear()
        self._held.clear()

    def picture(self, frame: Frame, now: float) -> list[Paired]:
        """Takes a picture."""
        if not frame.speech:
            self._idle = frame
            track = self._tracks[0] if self._tracks else None
            if track is not None and track.start is not None and not track.complete and not self._held:
                # The server had no sound in time, and goes on later where it stopped.
                track.start = None
            return self.tick(now)
        track = self._tracks[0] if self._tracks else None
        if track is None or frame.utterance < track.number:
            # Of an utterance that was interrupted or is over.
            return []
        self._idle = None
        if frame.utterance == track.number:
            anchor = now + self._delay - frame.utterance_frame / self._sound.fps
            if frame.utterance_frame < track.next:
                return self._late(frame, track, anchor)
            if track.start is None:
                track.start = anchor
        self._held.append(frame)
        return self.tick(now)

    def utterance_end(self, utterance: int, now: float) -> list[Paired]:
        """Takes note that all pictures of an utterance came."""
        for track in self._tracks:
            if track.number == utterance:
                track.complete = True
        return self.tick(now)

    # What goes out.

    def tick(self, now: float) -> list[Paired]:
        """What is to be given out by `now`."""
        out: list[Paired] = []
        while self._tracks:
            track = self._tracks[0]
            self._drop_held_before(track.number)
            if track.start is None and self._held and self._held[0].utterance == track.number:
                # Held since before the utterance in front was over.
                track.start = now - self._held[0].utterance_frame / self._sound.fps
            if track.complete and not track.pcm and not self._held_of(track):
                out.append(Spoken(track.number))
                self._tracks.popleft()
                continue
            if track.waits_since is None and (track.ended or len(track.pcm) >= self._sound.end_of(self._sound.fps)):
                track.waits_since = now
            if track.start is None and (self._is_given_up(track, now) or (track.complete and track.ended)):
                # No picture will come in time.
                track.start = now - track.next / self._sound.fps
            due = self._due(track)
            if due is None or due > now:
                break
            if not self._give(track, out):
                break
        if self._idle is not None and not self._held:
            out.append(Picture(self._idle.image, b"", speech=False))
            self._idle = None
        return out

    @property
    def due(self) -> float | None:
        """When `tick` has something to do if nothing comes before."""
        return self._due(self._tracks[0]) if self._tracks else None

    @property
    def speaking(self) -> int | None:
        """The utterance that is given out, or next."""
        return self._tracks[0].number if self._tracks else None

    @property
    def pending(self) -> float:
        """Seconds of sound that were not given out."""
        return sum(self._sound.seconds(len(track.pcm)) for track in self._tracks)

    def flush(self) -> list[Paired]:
        """All that is left, as sound alone: no picture will come. An utterance that has not ended stays open."""
        out: list[Paired] = []
        self._held.clear()
        self._idle = None
        while self._tracks:
            track = self._tracks[0]
            while track.pcm:
                out.append(Voice(track.piece(max(self._sound.end_of(track.next), track.given + 1)), track.number))
                track.next += 1
            if not track.ended:
                break
            out.append(Spoken(track.number))
            self._tracks.popleft()
        return out

    def _give(self, track: _Track, out: list[Paired]) -> bool:
        """Gives out the next frame of `track`; false if it has to wait after all."""
        end = self._sound.end_of(track.next)
        mine = self._held_of(track)
        if mine and self._held[0].utterance_frame == track.next:
            frame = self._held.popleft()
            out.append(Picture(frame.image, track.piece(end), True, track.number, track.next))
        elif len(track.pcm) >= end - track.given or (track.ended and track.pcm):
            out.append(Voice(track.piece(end), track.number))
        elif not mine:
            # There is no sound yet either: the server will go on later.
            track.start = None
            return False
        track.next += 1
        return True

    def _late(self, frame: Frame, track: _Track, anchor: float) -> list[Paired]:
        """A picture whose sound was given out: the sound waits once, so that those after it come together again."""
        if track.start is not None:
            track.start = max(track.start, anchor)
        if frame.utterance_frame + 1 < track.next or self._held:
            return []
        return [Picture(frame.image, b"", True, track.number, frame.utterance_frame)]

    def _due(self, track: _Track) -> float | None:
        if track.start is not None:
            return track.start + track.next / self._sound.fps
        if track.next == 0 and track.waits_since is not None:
            return track.waits_since + self._patience
        return None

    def _is_given_up(self, track: _Track, now: float) -> bool:
        due = self._due(track)
        return due is not None and due <= now

    def _held_of(self, track: _Track) -> bool:
        return bool(self._held) and self._held[0].utterance == track.number

    def _drop_held_before(self, utterance: int) -> None:
        while self._held and self._held[0].utterance < utterance:
            self._held.popleft()

    def _track(self, number: int) -> _Track:
        if not self._tracks or self._tracks[-1].number != number:
            self._tracks.append(_Track(number))
        return self._tracks[-1]
