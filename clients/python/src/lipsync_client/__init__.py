"""Client for lipsync, the server of talking avatars."""

from .aio import AsyncClient, TalkSession
from .avatar import Avatar, AvatarOptions, Back, Cut, Lost, Output, Picture, Spoken, Voice
from .client import Client, SyncTalkSession
from .errors import (
    AuthError,
    BusyError,
    FieldViolation,
    InvalidRequestError,
    LipsyncError,
    NotFoundError,
    ServerError,
    TimedOutError,
    UnavailableError,
    UnusableModelError,
)
from .messages import (
    Batch,
    Event,
    Format,
    Frame,
    Health,
    Interrupted,
    Model,
    ModelStats,
    Started,
    Stats,
    Summary,
    UtteranceEnd,
    i420_planes,
    rgb_array,
)
from .requests import Retries, TalkOptions

__version__ = "0.1.0"

__all__ = [
    "AsyncClient",
    "AuthError",
    "Avatar",
    "AvatarOptions",
    "Back",
    "Batch",
    "BusyError",
    "Client",
    "Cut",
    "Event",
    "FieldViolation",
    "Format",
    "Frame",
    "Health",
    "Interrupted",
    "InvalidRequestError",
    "LipsyncError",
    "Lost",
    "Model",
    "ModelStats",
    "NotFoundError",
    "Output",
    "Picture",
    "Retries",
    "ServerError",
    "Spoken",
    "Started",
    "Stats",
    "Summary",
    "SyncTalkSession",
    "TalkOptions",
    "TalkSession",
    "TimedOutError",
    "UnavailableError",
    "UnusableModelError",
    "UtteranceEnd",
    "Voice",
    "i420_planes",
    "rgb_array",
]
