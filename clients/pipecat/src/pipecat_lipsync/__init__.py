"""Talking avatars of one's own for Pipecat, served by lipsync."""

from .video import LipsyncVideoService, LipsyncVideoSettings

__version__ = "0.1.0"

__all__ = ["LipsyncVideoService", "LipsyncVideoSettings"]
