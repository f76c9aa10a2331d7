"""A connection that breaks: what stands between a client and a server in tests of patience."""

import socket
import threading
from collections.abc import Callable


class Flaky:
    """Passes on to `port` of this machine what comes to `address`, but closes each connection whose number `breaks`."""

    def __init__(self, port: int, breaks: Callable[[int], bool]) -> None:
        self.broken = 0
        self._port, self._breaks = port, breaks
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        for number in range(10**6):
            client, _ = self._listener.accept()
            if self._breaks(number):
                self.broken += 1
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self._port))
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._pass_on, args=(source, target), daemon=True).start()

    @staticmethod
    def _pass_on(source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            source.close()
            target.close()
