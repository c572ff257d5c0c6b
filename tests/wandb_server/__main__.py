"""The server as a process: prints its address and key as one line of JSON, and serves until it is ended."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import threading

from .server import WandbServer


def main() -> None:
    parser = argparse.ArgumentParser(prog="wandb_server", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--folder", default=None, help="where files are kept (a temporary folder)")
    parser.add_argument("--entity", default="acme")
    options = parser.parse_args()
    ended = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: ended.set())
    with (
        tempfile.TemporaryDirectory() as temporary,
        WandbServer(options.folder or temporary, port=options.port, entity=options.entity) as server,
    ):
        about = {"url": server.url, "key": server.key, "read_key": server.read_key, "entity": server.entity}
        sys.stdout.write(json.dumps(about) + "\n")
        sys.stdout.flush()
        ended.wait()


if __name__ == "__main__":
    main()
