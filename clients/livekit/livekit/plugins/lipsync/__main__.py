"""`python -m livekit.plugins.lipsync`: a worker, which joins the rooms of agents that run elsewhere."""

from __future__ import annotations

import argparse
import logging
import os

from aiohttp import web
from lipsync_client import AsyncClient, AvatarOptions

from .worker import AvatarWorker


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m livekit.plugins.lipsync", description=__doc__)
    parser.add_argument("--server", default=os.environ.get("LIPSYNC_SERVER", "localhost:50053"), help="lipsync's")
    parser.add_argument("--token", default=os.environ.get("LIPSYNC_TOKEN"), help="where lipsync asks for one")
    parser.add_argument("--host", default="127.0.0.1", help="where to listen for jobs (127.0.0.1)")
    parser.add_argument("--port", type=int, default=8089, help="(8089)")
    parser.add_argument("--worker-token", default=os.environ.get("LIPSYNC_WORKER_TOKEN"), help="what agents must bring")
    parser.add_argument("--rooms", type=int, default=16, help="rooms at once, at most (16)")
    args = parser.parse_args()
    if args.host not in ("127.0.0.1", "::1", "localhost") and not args.worker_token:
        parser.error("a worker that others reach needs a --worker-token")
    logging.basicConfig(level=logging.INFO)

    async def application() -> web.Application:
        worker = AvatarWorker(
            AsyncClient(args.server, token=args.token), AvatarOptions(model="-"), rooms_max=args.rooms
        )
        return worker.application(args.worker_token)

    web.run_app(application(), host=args.host, port=args.port)


if __name__ == "__main__":
    main()
