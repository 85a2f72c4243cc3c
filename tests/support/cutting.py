"""A proxy that can pass a request on to its server and then lose the answer, as networks do."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading

_FIRST_OF_MANY = 65536


class Cutting:
    """Listens on loopback and passes everything on, until it is told to lose an answer."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lose = threading.Event()
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def lose_next_answer(self) -> None:
        """Let the next request reach the server; its answer is dropped, and its connection cut."""
        self._lose.set()

    @property
    def has_lost(self) -> bool:
        """Whether the answer has been lost."""
        return not self._lose.is_set()

    def close(self) -> None:
        """Take no further connection."""
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        server = socket.create_connection(("127.0.0.1", self._target))
        with client, server, selectors.DefaultSelector() as both, contextlib.suppress(OSError):
            both.register(client, selectors.EVENT_READ, server)
            both.register(server, selectors.EVENT_READ, client)
            while True:
                for key, _ in both.select():
                    content = key.fileobj.recv(_FIRST_OF_MANY)
                    if not content:
                        return
                    if key.fileobj is server and self._lose.is_set():
                        self._lose.clear()
                        return
                    key.data.sendall(content)
