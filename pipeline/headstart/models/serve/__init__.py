"""Stage: a model file and a browser: a page and a JSON endpoint on this machine.

Needs neither torch nor scikit-learn. See docs/models.md for the endpoint.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import socket
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.core.errors import InputError, missing_extra, one_line
from headstart.core.parallel import available_cores
from headstart.models.classifier import Model

if TYPE_CHECKING:
    import uvicorn

LOOPBACK = ("localhost", "127.0.0.1", "::1")
PATIENCE = 5  # seconds that requests under way get when the server is to end
_SILENT = 10  # seconds that a connection may say nothing, or not all of a request's head
_CONNECTIONS = 256


def serve(
    path: Path,
    host: str,
    port: int,
    *,
    stores: Sequence[Path] = (),
    tested: Collection[str] = (),
    nearest: int | None = None,
    max_bytes: int | None = None,
    workers: int | None = None,
    device: str = "cpu",
    notice: Callable[[str], None] = lambda line: None,
) -> None:
    """Serve a model until an interrupt, which is handed on once requests under way are answered.

    Args:
        path: the model file.
        host: the address to listen on.
        port: the port; 0 takes any that is free.
        stores: where its training images may be; they may be gone.
        tested: paths of images of the stores that the model was not trained on.
        nearest: training images named in an answer; 0 for none, None for a few.
        max_bytes: most bytes of an upload; None for 32 MiB.
        workers: threads; None means one per core.
        device: one of `headstart.backbones.inference.runner.DEVICES`.
        notice: is told when the server is ready, and what its user should know.

    Raises:
        HeadstartError: the extra ``serve`` is not installed.
        InputError: the address cannot be listened on.
        BackboneError: the model cannot be used.
        RunnerError: it cannot run on the device.
    """
    try:
        import python_multipart  # noqa: F401 - starlette looks for it when a form comes
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise missing_extra(error.name or "starlette", "serve") from None
    from headstart.models.serve import app, neighbours
    from headstart.models.serve.batching import Batcher

    listener = listen(host, port)
    try:
        model = Model(path, device)
        given = {"nearest": nearest, "body": max_bytes}
        limits = app.Limits(**{key: n for key, n in given.items() if n is not None})
        training: tuple[neighbours.TrainingImages | None, str] = (None, "")
        if limits.nearest:
            training = neighbours.find(model.backbone, stores, tested)
            if training[0] is None:
                notice(f"without nearest training images: {training[1]}")
        address, number = listener.getsockname()[:2]
        loopback = ipaddress.ip_address(address).is_loopback
        if not loopback:
            notice(
                f"WARNING: whoever reaches {address} can use the model"
                + (" and see names and thumbnails of training images" if training[0] else "")
                + "; there is no password and no encryption"
            )
        batcher = Batcher(model, workers or available_cores())
        hosts = {*LOOPBACK, host.lower()} if loopback else None
        application = app.build(model, path.name, batcher, training, limits, hosts)
        shown = f"[{address}]" if ":" in address else address
        ready = f"serving {one_line(path)} at http://{shown}:{number} (Ctrl+C ends it)"
        try:
            server(application, lambda: notice(ready)).run([listener])
        finally:
            batcher.close()
    finally:
        listener.close()


def listen(host: str, port: int) -> socket.socket:
    """Take an address.

    Raises:
        InputError: it cannot be had.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError):
        raise InputError(f"no address for the host {one_line(host)!r}; see --host") from None
    try:
        listener = socket.create_server(found[4][:2], family=found[0])
        # Connections inherit it: or the body of an answer would wait 40 ms for the head's receipt.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        cause = os.strerror(error.errno) if error.errno else one_line(error)
        raise InputError(
            f"cannot listen on port {port} of {one_line(host)}: {cause}; "
            "choose another with --port, or 0 for any that is free"
        ) from None


def server(application: Any, ready: Callable[[], None], silence: int = _SILENT) -> uvicorn.Server:  # noqa: ANN401
    """Return what runs an application until a signal, which it raises again in the end.

    Args:
        application: of `headstart.models.serve.app`.
        ready: is called once connections are answered.
        silence: seconds in which the head of a request has to arrive.
    """
    import uvicorn

    from headstart.models.serve.connection import Connection

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            ready()

    for name in ("uvicorn", "python_multipart"):
        logging.getLogger(name).setLevel(logging.ERROR)  # hostile bytes are no news
    config = uvicorn.Config(
        application,
        http=Connection,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=_CONNECTIONS,
        timeout_keep_alive=silence,
        timeout_graceful_shutdown=PATIENCE,
    )
    return Server(config)
