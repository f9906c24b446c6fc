"""What the Python peers share: their settings, and uvicorn at its quickest (uvloop, httptools, no access log)."""

import os
import sys

import uvicorn


def setting(name: str, position: int, default: str = "") -> str:
    return os.environ.get(name) or (sys.argv[position] if len(sys.argv) > position else default)


PORT = int(setting("PORT", 1, "0"))
MODEL = setting("MODEL", 2)
CLASS_NAMES = setting("CLASS_NAMES", 3, "setosa,versicolor,virginica").split(",")


class AnnouncingServer(uvicorn.Server):
    async def startup(self, sockets=None):
        await super().startup(sockets)
        if self.started:
            print(f"LISTENING {self.servers[0].sockets[0].getsockname()[1]}", flush=True)


def serve(app) -> None:
    config = uvicorn.Config(
        app, host="127.0.0.1", port=PORT, loop="uvloop", http="httptools", log_level="warning", access_log=False
    )
    AnnouncingServer(config).run()
