"""Run an MCP server over stdio and write down every message that passes: tap.py FILE COMMAND ARGUMENT…

Each line of FILE is a `Heard` of recorder.py. Standard library only, so that it starts in no time.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from typing import BinaryIO


def main() -> int:
    file, *command = sys.argv[1:]
    record = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert server.stdin is not None
    assert server.stdout is not None

    def pass_on(to: str, source: BinaryIO, sink: BinaryIO) -> None:
        for line in source:
            # Written before it is passed on: who has an answer finds the whole exchange in the file.
            heard = {"to": to, "connection": f"process-{server.pid}", "message": json.loads(line)}
            os.write(record, json.dumps(heard).encode() + b"\n")
            sink.write(line)
            sink.flush()
        with contextlib.suppress(BrokenPipeError):
            sink.close()

    threading.Thread(target=pass_on, args=("server", sys.stdin.buffer, server.stdin), daemon=True).start()
    pass_on("client", server.stdout, sys.stdout.buffer)
    return server.wait()


if __name__ == "__main__":
    # Not sys.exit: the thread may be reading standard input, which an orderly exit would wait for.
    os._exit(main())
