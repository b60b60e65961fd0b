"""Talking avatars of one's own for LiveKit Agents, served by lipsync."""

from livekit.agents import Plugin

from .avatar import AvatarSession
from .generator import LipsyncGenerator
from .log import logger
from .version import __version__
from .worker import AvatarWorker, Job

__all__ = ["AvatarSession", "AvatarWorker", "Job", "LipsyncGenerator", "__version__"]


class LipsyncPlugin(Plugin):
    """Makes the plug-in known to LiveKit."""

    def __init__(self) -> None:
        super().__init__(__name__, __version__, __package__ or __name__, logger)


Plugin.register_plugin(LipsyncPlugin())
