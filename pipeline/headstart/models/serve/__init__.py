"""Stage: serve a model file to browsers and programs, as a page and a JSON endpoint.

Needs neither torch nor scikit-learn. docs/models.md describes the endpoint.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import socket
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.core.choices import SETS
from headstart.core.costs import read
from headstart.core.errors import InputError, missing_extra, one_line
from headstart.core.parallel import available_cores
from headstart.models.classifier import Classifier

if TYPE_CHECKING:
    import uvicorn

    from headstart.models.serve.app import Service

LOOPBACK = ("localhost", "127.0.0.1", "::1")
PATIENCE = 5  # seconds that requests under way get when the server shuts down
_SILENT = 10  # seconds in which the head of a request has to arrive
_CONNECTIONS = 256


@dataclass(frozen=True)
class ServeConfig:
    """Where to listen, and what to answer with; see `headstart.serve`.

    Below the model's threshold for a ``target``, a share of right answers, images get no class.
    ``costs`` is a table for `core.costs.read`, and ``sets`` one of `core.choices.SETS`, or empty
    for the first where the model has thresholds.
    Missing ``stores`` are skipped. The model was not trained on the images at the paths ``tested``.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    stores: Sequence[Path] = ()
    tested: Collection[str] = ()
    nearest: int = 6
    max_bytes: int = 32 << 20
    target: float | None = None
    costs: Path | None = None
    sets: str = ""
    workers: int | None = None
    device: str = "cpu"


def serve(
    path: str | os.PathLike[str],
    config: ServeConfig | None = None,
    notice: Callable[[str], None] = lambda line: None,
) -> None:
    """Serve a model until an interrupt, which is raised again once open requests are answered.

    ``notice`` receives the address once the server is ready, and warnings.

    Raises:
        HeadstartError: the extra ``serve`` is not installed.
    """
    try:
        import python_multipart  # noqa: F401 - starlette looks for it when a form comes
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise missing_extra(error.name or "starlette", "serve") from None
    config = config or ServeConfig()
    path = Path(path)
    listener = listen(config.host, config.port)
    try:
        with ThreadPoolExecutor(1) as pool:  # the model opens while the libraries are imported
            opening = pool.submit(Classifier, path, config.device)
            from headstart.models.serve import app
            from headstart.models.serve.batching import Batcher

            model = opening.result()
            model.check_images()
        batcher = Batcher(model, config.workers or available_cores())
        try:
            service = _service(model, path.name, batcher, config, notice)
            address, port = listener.getsockname()[:2]
            loopback = ipaddress.ip_address(address).is_loopback
            if not loopback:
                notice(_public_warning(address, service))
            application = app.build(service, {*LOOPBACK, config.host.lower()} if loopback else None)
            shown = f"[{address}]" if ":" in address else address
            ready = f"serving {one_line(path)} at http://{shown}:{port} (press Ctrl+C to stop)"
            server(application, lambda: notice(ready)).run([listener])
        finally:
            batcher.close()
    finally:
        listener.close()


def _service(
    model: Classifier,
    name: str,
    batcher: Any,  # noqa: ANN401 - Batcher
    config: ServeConfig,
    notice: Callable[[str], None],
) -> Service:
    from headstart.models.serve import app, neighbours

    training, reason = None, ""
    if config.nearest:
        training, reason = neighbours.find(model.backbone, config.stores, config.tested)
        if training is None:
            notice(f"nearest training images are not available: {reason}")
    limits = app.Limits(body=config.max_bytes, nearest=config.nearest)
    least = 0.0 if config.target is None else model.threshold_for(config.target)
    table = None if config.costs is None else read(config.costs, model.classes)
    model.check_decisions(config.sets, least, table)
    model.answers.check(model, least, table)
    kind = config.sets or SETS[0]
    return app.Service(model, name, batcher, training, reason, least, table, kind, limits)


def _public_warning(address: str, service: Service) -> str:
    images = "" if service.training is None else " and see names and thumbnails of training images"
    return (
        f"WARNING: anyone who can reach {address} can use the model{images}; there is no password "
        "and no encryption"
    )


def listen(host: str, port: int) -> socket.socket:
    """Bind an address; raise `InputError` if it is unknown, in use or forbidden."""
    try:
        address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError):
        raise InputError(f"cannot resolve host {one_line(host)!r}; check --host") from None
    try:
        listener = socket.create_server(address[4][:2], family=address[0])
        # Connections inherit it. Without it, a body waits 40 ms until the head is acknowledged.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        cause = os.strerror(error.errno) if error.errno else one_line(error)
        raise InputError(
            f"cannot listen on port {port} of {one_line(host)}: {cause}; choose another with "
            "--port, or 0 for any free port"
        ) from None


def server(application: Any, ready: Callable[[], None], silence: int = _SILENT) -> uvicorn.Server:  # noqa: ANN401
    """Return a server that runs until a signal, which it raises again at the end.

    It calls ``ready`` once it answers connections. The head of a request has to arrive within
    ``silence`` seconds.
    """
    import uvicorn

    from headstart.models.serve.connection import Connection

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            ready()

    for name in ("uvicorn", "python_multipart"):
        logging.getLogger(name).setLevel(logging.ERROR)  # malformed requests need no log entry
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
