"""Avatars for agents that run elsewhere: a worker joins their rooms and publishes for them.

An agent sends speech over `lk.audio_stream`, and is told by RPC when it was played.
"""

from __future__ import annotations

import asyncio
import hmac
from dataclasses import asdict, dataclass, field, fields, replace

import aiohttp
from aiohttp import web
from lipsync_client import AsyncClient, Avatar, AvatarOptions
from livekit.agents.voice.avatar import AvatarRunner, DataStreamAudioReceiver

from livekit import rtc

from .generator import LipsyncGenerator
from .log import logger

JOBS_PATH = "/jobs"


@dataclass(frozen=True)
class Job:
    """A room to join."""

    #: LiveKit's address, and the avatar's token for the room.
    url: str
    token: str = field(repr=False)
    #: The agent's identity.
    agent: str
    #: The model's id on the lipsync server.
    avatar: str


async def submit(http: aiohttp.ClientSession, worker: str, token: str | None, job: Job) -> None:
    """Hands a job to a worker; returns when the avatar is in the room."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    async with http.post(worker.rstrip("/") + JOBS_PATH, json=asdict(job), headers=headers) as answer:
        if answer.status != 201:
            raise RuntimeError(f"the worker at {worker} says {answer.status}: {await answer.text()}")


class AvatarWorker:
    """Joins rooms for agents and publishes their avatars."""

    def __init__(self, client: AsyncClient, options: AvatarOptions, *, rooms_max: int = 16) -> None:
        self._client = client
        self._options = options
        self._rooms_max = rooms_max
        self._rooms: set[asyncio.Task[None]] = set()

    @property
    def rooms(self) -> int:
        """How many rooms it is in."""
        return len(self._rooms)

    async def start(self, job: Job, room: rtc.Room | None = None) -> None:
        """Opens the avatar and joins the room; returns when it is there. It leaves with the agent."""
        if self.rooms >= self._rooms_max:
            raise OverflowError(f"all {self._rooms_max} places are taken")
        there: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(self._run(job, room or rtc.Room(), there), name=f"avatar of {job.agent}")
        self._rooms.add(task)
        task.add_done_callback(self._rooms.discard)
        await there

    async def aclose(self) -> None:
        """Leaves all rooms."""
        for task in self._rooms:
            task.cancel()
        await asyncio.gather(*self._rooms, return_exceptions=True)

    async def _run(self, job: Job, room: rtc.Room, there: asyncio.Future[None]) -> None:
        avatar = Avatar(self._client, replace(self._options, model=job.avatar))
        runner: AvatarRunner | None = None
        try:
            generator = LipsyncGenerator(avatar, await avatar.open())
            gone = asyncio.Event()

            def left(participant: rtc.RemoteParticipant) -> None:
                if participant.identity == job.agent:
                    gone.set()

            room.on("participant_disconnected", left)
            room.on("disconnected", lambda *_: gone.set())
            if not room.isconnected():
                await room.connect(job.url, job.token)
            receiver = DataStreamAudioReceiver(room, sender_identity=job.agent)
            runner = AvatarRunner(room, audio_recv=receiver, video_gen=generator, options=generator.options)
            generator.attach(runner)
            await runner.start()
            there.set_result(None)
            logger.info("the avatar %s is in the room for %s", job.avatar, job.agent)
            await gone.wait()
        except Exception as error:
            if there.done():
                logger.exception("the avatar of %s ended", job.agent)
            else:
                there.set_exception(error)
        finally:
            await avatar.aclose()
            if runner is not None:
                await runner.aclose()
            await room.disconnect()

    def application(self, token: str | None) -> web.Application:
        """The worker over HTTP: `POST /jobs` with a job, `GET /healthz`."""

        async def jobs(request: web.Request) -> web.Response:
            given = request.headers.get("authorization", "")
            if token and not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
                return web.Response(status=401, text="no such token")
            try:
                body = await request.json()
                job = Job(**{key.name: str(body[key.name]) for key in fields(Job)})
            except (ValueError, KeyError, TypeError) as error:
                return web.Response(status=400, text=f"that is no job: {error!r}")
            try:
                await self.start(job)
            except OverflowError as error:
                return web.Response(status=503, text=str(error))
            except Exception as error:
                return web.Response(status=502, text=str(error))
            return web.Response(status=201)

        async def healthy(_: web.Request) -> web.Response:
            return web.json_response({"rooms": self.rooms, "rooms_max": self._rooms_max})

        async def close(_: web.Application) -> None:
            await self.aclose()

        application = web.Application(client_max_size=1 << 16)
        application.add_routes([web.post(JOBS_PATH, jobs), web.get("/healthz", healthy)])
        application.on_shutdown.append(close)
        return application
