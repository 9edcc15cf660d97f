"""Not agents: programs that hold a port, or that should listen and do not."""

import signal
import socket

from terminal import log, log_start, write

ANSWERS = {
    "http": b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 9\r\nConnection: close\r\n\r\nstranger\n",
    "garbage": b"\x00\x01SSH-2.0-stranger\r\n",
    "closes": b"",
    "silent": None,
}


def stranger(port="0", how="http", host="127.0.0.1"):
    """Listens on *port* (0: any) and prints ``listening on PORT``.

    :param how: ``http`` answers 404, ``garbage`` something that is no HTTP, ``closes`` hangs up, ``silent`` never answers.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    log_start()
    held = []
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, int(port)))
        listener.listen(16)
        write(f"listening on {listener.getsockname()[1]}\n")
        log("listening", port=listener.getsockname()[1])
        while True:
            connection, _address = listener.accept()
            answer = ANSWERS[how]
            if answer is None:
                held = [*held[-64:], connection]
                continue
            with connection:
                connection.settimeout(2)
                try:
                    connection.recv(65536)
                    connection.sendall(answer)
                except OSError:
                    continue


def neverlisten():
    """Lives, prints one line, and never listens: an agent server that hangs in its start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    log_start()
    write("starting, and starting\n")
    signal.pause()
