"""The agent's audio output in local mode."""

from __future__ import annotations

import asyncio

from livekit.agents.voice.avatar import QueueAudioOutput

#: Longer than a runner takes to tell of an interruption.
_TOLD_WITHIN = 1.0


class SpeechOutput(QueueAudioOutput):
    """LiveKit's queue, which after `clear_buffer` tells of every segment that it ended.

    The runner tells of the segment that it plays. It knows nothing of one that was cleared before it read any of it,
    nor of those queued behind: an agent that waits for their playout would wait for ever.
    """

    def __init__(self, sample_rate: int) -> None:
        super().__init__(sample_rate=sample_rate, wait_playback_start=True)
        self._owed = 0
        self._told = asyncio.Event()
        self._settling: set[asyncio.Task[None]] = set()

    def clear_buffer(self) -> None:
        """Drops what is queued, and has the runner drop what it plays."""
        self._owed = self._pending_playback_count
        super().clear_buffer()
        if self._owed:
            self._told.clear()
            task = asyncio.create_task(self._settle())
            self._settling.add(task)
            task.add_done_callback(self._settling.discard)

    def notify_playback_finished(self, playback_position: float, interrupted: bool) -> None:
        """Told by the runner."""
        if interrupted:
            if not self._owed:
                return
            self._owed -= 1
        super().notify_playback_finished(playback_position, interrupted)
        if interrupted:
            self._told.set()

    async def _settle(self) -> None:
        try:
            await asyncio.wait_for(self._told.wait(), _TOLD_WITHIN)
        except asyncio.TimeoutError:
            pass
        owed, self._owed = self._owed, 0
        for _ in range(owed):
            self.on_playback_finished(playback_position=0.0, interrupted=True)

    async def aclose(self) -> None:
        """Ends the waiting."""
        for task in self._settling:
            task.cancel()
        await super().aclose()
