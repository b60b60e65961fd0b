"""The avatar of an agent: in the agent's own process, or in a worker elsewhere."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
from lipsync_client import AsyncClient, Avatar, AvatarOptions, Cut, Format
from livekit.agents import AgentSession
from livekit.agents.types import ATTRIBUTE_PUBLISH_ON_BEHALF
from livekit.agents.voice.avatar import AvatarRunner, DataStreamAudioOutput
from livekit.agents.voice.avatar import AvatarSession as BaseAvatarSession

from livekit import api, rtc

from .generator import LipsyncGenerator
from .log import logger
from .output import SpeechOutput
from .worker import Job, submit

#: Hands a job to a worker.
Dispatch = Callable[[Job], Awaitable[None]]

_IDENTITY = "lipsync-avatar"


class AvatarSession(BaseAvatarSession[str]):
    """Gives an agent a face: `await AvatarSession(avatar="sanders").start(session, ctx.room)` before `session.start`.

    The avatar is rendered by a lipsync server and published by the agent itself. With `worker_url` or `dispatch` a
    worker near that server joins the room and publishes it, and the agent sends it speech.

    Turn `resume_false_interruption` off: an avatar cannot pause.
    """

    def __init__(
        self,
        *,
        avatar: str,
        url: str | None = None,
        token: str | None = None,
        tls: bool | str | None = None,
        format: Format | str = Format.I420,
        sample_rate: int = 24_000,
        lookahead: int | None = None,
        buffer_frames: int = 1,
        worker_url: str | None = None,
        worker_token: str | None = None,
        dispatch: Dispatch | None = None,
        identity: str = _IDENTITY,
    ) -> None:
        """Makes the session.

        Args:
            avatar: The model's id on the server.
            url: The server, as host:port or https://host:port; LIPSYNC_SERVER, or localhost:50053.
            token: Where the server asks for one; LIPSYNC_TOKEN.
            tls: True, or a file of certificates to trust.
            format: `i420`, or `rgb`, which is twice as large.
            sample_rate: Of the avatar's voice; speech of another rate is resampled by LiveKit.
            lookahead: Features that a picture waits for, 0 to 8; fewer are faster and less exact.
            buffer_frames: Frames that pictures are held back, so that one that is late still meets its sound.
            worker_url: A worker's address, `http://host:port`, for an avatar that is published elsewhere.
            worker_token: What the worker asks for.
            dispatch: Instead of `worker_url`: gets a job to a worker in a way of one's own.
            identity: The avatar's in the room, where a worker publishes it.
        """
        super().__init__()
        self._client: AsyncClient | None = None
        self._url = url or os.environ.get("LIPSYNC_SERVER", "localhost:50053")
        self._token = token or os.environ.get("LIPSYNC_TOKEN")
        self._tls = tls
        self._options = AvatarOptions(
            model=avatar,
            sample_rate=sample_rate,
            format=Format(format),
            lookahead=lookahead,
            buffer_frames=buffer_frames,
        )
        if dispatch is None and worker_url is not None:
            address = worker_url

            async def dispatch(job: Job) -> None:
                async with aiohttp.ClientSession() as http:
                    await submit(http, address, worker_token, job)

        self._dispatch = dispatch
        self._identity = identity
        self._runner: AvatarRunner | None = None
        self._generator: LipsyncGenerator | None = None

    @property
    def avatar_identity(self) -> str:
        """Who publishes the avatar: the agent, or the worker's participant."""
        if self._dispatch is None and self._room is not None:
            return self._room.local_participant.identity
        return self._identity

    @property
    def provider(self) -> str:
        """Who makes the avatar."""
        return "lipsync"

    @property
    def last_cut(self) -> Cut | None:
        """How much of the last interrupted utterance was given out, in local mode."""
        return self._generator.last_cut if self._generator is not None else None

    async def start(
        self,
        agent_session: AgentSession[Any],
        room: rtc.Room,
        *,
        livekit_url: str | None = None,
        livekit_api_key: str | None = None,
        livekit_api_secret: str | None = None,
    ) -> None:
        """Opens the avatar and becomes the agent's audio output. Raises `LipsyncError` if there is no avatar.

        The keys are for a worker's token, from LIVEKIT_URL, LIVEKIT_API_KEY and LIVEKIT_API_SECRET unless given.
        """
        await super().start(agent_session, room)
        if self._dispatch is None:
            await self._start_here(agent_session, room)
        else:
            url = livekit_url or os.environ.get("LIVEKIT_URL")
            key = livekit_api_key or os.environ.get("LIVEKIT_API_KEY")
            secret = livekit_api_secret or os.environ.get("LIVEKIT_API_SECRET")
            if not (url and key and secret):
                raise ValueError("a worker needs a token: set LIVEKIT_URL, LIVEKIT_API_KEY and LIVEKIT_API_SECRET")
            await self._start_elsewhere(agent_session, room, self._dispatch, url, key, secret)

    async def _start_here(self, agent_session: AgentSession[Any], room: rtc.Room) -> None:
        self._client = AsyncClient(self._url, token=self._token, tls=self._tls)
        avatar = Avatar(self._client, self._options)
        started = await avatar.open()
        self._generator = LipsyncGenerator(avatar, started)
        output = SpeechOutput(self._options.sample_rate)
        self._runner = AvatarRunner(room, audio_recv=output, video_gen=self._generator, options=self._generator.options)
        self._generator.attach(self._runner)
        await self._runner.start()
        agent_session.output.replace_audio_tail(output)

    async def _start_elsewhere(
        self, agent_session: AgentSession[Any], room: rtc.Room, dispatch: Dispatch, url: str, key: str, secret: str
    ) -> None:
        me = room.local_participant.identity
        token = (
            api.AccessToken(api_key=key, api_secret=secret)
            .with_kind("agent")
            .with_identity(self._identity)
            .with_name(self._options.model)
            .with_grants(api.VideoGrants(room_join=True, room=room.name))
            .with_attributes({ATTRIBUTE_PUBLISH_ON_BEHALF: me})
            .to_jwt()
        )
        await dispatch(Job(url=url, token=token, agent=me, avatar=self._options.model))
        agent_session.output.replace_audio_tail(
            DataStreamAudioOutput(
                room,
                destination_identity=self._identity,
                sample_rate=self._options.sample_rate,
                wait_remote_track=rtc.TrackKind.KIND_VIDEO,
                wait_playback_start=True,
            )
        )

    async def aclose(self) -> None:
        """Ends the avatar; the agent stays."""
        if self._generator is not None:
            await self._generator.aclose()
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.aclose()
        if self._client is not None:
            await self._client.close()
        if self._dispatch is None and self._room is not None:
            # The base removes the avatar's participant from the room, and here that is the agent.
            self._room.off("connection_state_changed", self._on_connection_state_changed)
            self._room = None
        await super().aclose()
        logger.debug("the avatar is closed")
