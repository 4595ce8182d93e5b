"""The web application: a page, ``POST /predict``, and what else the page requests.

Every answer is JSON, except the page, its script, its style and thumbnails; an error is
``{"error": "one line"}``. No header lets another site's page read an answer.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headstart.core.choices import SETS
from headstart.core.costs import Costs
from headstart.core.errors import HeadstartError, ImageError, one_line
from headstart.datasets import images
from headstart.models.classifier import Classifier
from headstart.models.serve.batching import Answer, Batcher
from headstart.models.serve.neighbours import TrainingImages
from headstart.models.serve.upload import image_bytes

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}
PAGE = {"/": "index.html", "/page.js": "page.js", "/page.css": "page.css"}
_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}


@dataclass(frozen=True)
class Limits:
    """Limits of a server.

    Attributes:
        body: bytes of a request's body, which has to arrive within ``seconds``.
        requests: images in work, from the first byte to the answer; further ones are refused.
        doubtful: of these, images that may be slow to decode (`images.is_ordinary`).
        decoding: seconds of processor time that such an image may take.
        nearest: training images in an answer; 0 for none.
    """

    body: int = 32 << 20
    seconds: float = 30.0
    requests: int = 64
    doubtful: int = 4
    decoding: int = 5
    nearest: int = 6


@dataclass
class Service:
    """What the endpoints share; ``reason`` says why there are no training images.

    Images whose best class is less probable than ``min_confidence`` are labelled ``unknown``;
    ``costs`` ask for the class of least expected cost. ``sets`` is one of `core.choices.SETS`.
    """

    model: Classifier
    name: str
    batcher: Batcher
    training: TrainingImages | None = None
    reason: str = ""
    min_confidence: float = 0.0
    costs: Costs | None = None
    sets: str = SETS[0]
    limits: Limits = field(default_factory=Limits)


def build(service: Service, hosts: Collection[str] | None = None) -> Starlette:
    """Return the application; requests may address one of ``hosts``, or any host if None."""
    endpoints = _Endpoints(service)
    return Starlette(
        routes=[
            *(Route(path, partial(_page, file)) for path, file in PAGE.items()),
            Route("/model", endpoints.describe),
            Route("/predict", endpoints.predict, methods=["POST"]),
            Route("/thumbnail/{row:int}", endpoints.thumbnail),
        ],
        middleware=[Middleware(_Guard, hosts=hosts)],
        exception_handlers={
            HTTPException: _refusal,
            ImageError: partial(_answer, 422, "the image cannot be used: {}"),
            HeadstartError: partial(_answer, 500, "{}"),
            ClientDisconnect: partial(_answer, 400, "the client closed the connection"),
            Exception: partial(_answer, 500, "internal error; see the server's log"),
        },
    )


class _Json(JSONResponse):
    """JSON in ASCII: names of classes and files may hold bytes that are not UTF-8."""

    def render(self, content: object) -> bytes:
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


class _Endpoints:
    def __init__(self, service: Service) -> None:
        self._service, self._model, self._limits = service, service.model, service.limits
        self._requests = self._doubtful = 0  # in work
        training = service.training if service.limits.nearest else None
        rows = training.examples() if training else {}
        self._examples = {label: f"/thumbnail/{row}" for label, row in rows.items()}
        self._dataset = self._model.facts.get("dataset") or (training.name if training else "")

    async def describe(self, request: Request) -> Response:
        """``GET /model``: what the page shows before an image is chosen."""
        service, facts, rule = self._service, self._model.facts, self._model.set_rule
        return _Json(
            {
                "name": self._service.name,
                "dataset": self._dataset,
                "examples": self._examples,
                "classes": self._model.classes,
                "target": self._model.target,
                "thresholds": self._model.label_thresholds.tolist(),
                "backbone": self._model.backbone.name,
                "warning": self._model.backbone.warning,
                "head": (facts.get("head") or {}).get("name"),
                "test_accuracy": facts.get("test_accuracy"),
                "test_map": facts.get("test_map"),
                "test_accuracy_ci": facts.get("test_accuracy_ci"),
                "min_confidence": service.min_confidence,
                "costs": service.costs is not None,
                "sets": None if rule is None else service.sets,
                "set_level": None if rule is None else rule.level,
                "max_bytes": self._limits.body,
                "nearest": service.reason if service.training is None else len(service.training),
            }
        )

    async def predict(self, request: Request) -> Response:
        """``POST /predict``: classify the image in the body, or in a form's file."""
        if self._requests >= self._limits.requests:
            raise _busy("too many requests at once; try again later")
        self._requests += 1
        try:
            data = await image_bytes(request, self._limits.body, self._limits.seconds)
            started = time.perf_counter()
            crop = await self._decoded(data)
            decoded = time.perf_counter()
            answer = await self._service.batcher.answer(crop)
            inferred = time.perf_counter()
            document = self._document(answer)
            document["nearest"] = await self._nearest(answer)
        finally:
            self._requests -= 1
        document["milliseconds"] = {
            "decode": _ms(decoded - started),
            "wait": _ms(inferred - decoded - answer.seconds),
            "inference": _ms(answer.seconds),
            "total": _ms(time.perf_counter() - started),
        }
        return _Json(document)

    async def _decoded(self, data: bytes) -> NDArray[np.uint8]:
        """Return the network's input; only a few images at once may be slow to decode."""
        doubtful = not images.is_ordinary(data)
        if doubtful and self._doubtful >= self._limits.doubtful:
            raise _busy("too many unusual images at once; try again later, or send a smaller JPEG")
        self._doubtful += doubtful
        try:
            return await self._service.batcher.decode(data, self._limits.decoding, doubtful)
        finally:
            self._doubtful -= doubtful

    def _document(self, answer: Answer) -> dict[str, Any]:
        scores = dict(zip(self._model.classes, answer.probabilities.tolist(), strict=True))
        measured = not math.isnan(answer.distance)
        limit = self._model.threshold
        return {
            **self._answer(answer, scores),
            "set": self._set(answer),
            "probabilities": scores,
            "distance": answer.distance if measured else None,
            "unlike": answer.distance > limit if measured and limit is not None else None,
            "unusual": self._unusual(answer),
            "batch": answer.batch,
        }

    def _answer(self, answer: Answer, scores: dict[str, float]) -> dict[str, Any]:
        """Return the label with its probability, or the labels of a multi-label model."""
        best, costs = int(answer.probabilities.argmax()), self._service.costs
        if costs is not None:
            best = int(costs.decide(answer.probabilities[np.newaxis])[0])
        names = self._model.answers.names(
            self._model, answer.probabilities, best, self._service.min_confidence
        )
        if self._model.answers.KEY != "label":
            return {self._model.answers.KEY: names}
        return {"label": names[0], "probability": scores[self._model.classes[best]]}

    def _set(self, answer: Answer) -> list[str] | None:
        """Return the set of classes; None if the model cannot say."""
        if self._model.set_rule is None:
            return None
        return list(self._model.sets(answer.probabilities[np.newaxis], self._service.sets)[0])

    def _unusual(self, answer: Answer) -> bool | None:
        mark = self._model.unusual
        if mark is None:
            return None
        distance, scores = np.array([answer.distance]), answer.probabilities[np.newaxis]
        return bool(mark.marks(distance, scores)[0])

    async def _nearest(self, answer: Answer) -> list[dict[str, Any]] | None:
        training = self._service.training
        if training is None or not self._limits.nearest:
            return None
        search = partial(training.nearest, answer.features, self._limits.nearest)
        return [
            {
                "path": one_line(neighbour.path),
                "label": neighbour.label,
                "distance": neighbour.distance,
                "thumbnail": f"/thumbnail/{neighbour.row}",
            }
            for neighbour in await self._service.batcher.run(search)
        ]

    async def thumbnail(self, request: Request) -> Response:
        """``GET /thumbnail/ROW``: the thumbnail of a training image."""
        row: int = request.path_params["row"]
        picture = None
        training = self._service.training
        if training is not None and self._limits.nearest:
            picture = await self._service.batcher.run(partial(training.picture, row))
        if picture is None:
            raise HTTPException(404, "no thumbnail of this image")
        return Response(picture, media_type="image/webp")


async def _page(name: str, request: Request) -> Response:
    text = files("headstart.models.serve").joinpath("page", name).read_text(encoding="utf-8")
    return Response(text, media_type=_TYPES[Path(name).suffix])


def _busy(message: str) -> HTTPException:
    return HTTPException(503, message, headers={"retry-after": "1"})


def _ms(seconds: float) -> float:
    return round(1000 * max(0.0, seconds), 2)


def _error(status: int, message: object, headers: dict[str, str] | None = None) -> Response:
    return _Json({"error": one_line(message)}, status, headers)


async def _refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error(error.status_code, error.detail, dict(error.headers or {}))


async def _answer(status: int, message: str, request: Request, error: Exception) -> Response:
    return _error(status, message.format(error))


class _Guard:
    """Checks the host name of every request, and adds security headers to every answer.

    A page of another site whose name has been pointed at this machine (DNS rebinding) sends that
    name, and is refused.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str] | None) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers.setdefault("cache-control", "no-store")
            await send(message)

        if self._hosts is None or _host(Headers(scope=scope).get("host", "")) in self._hosts:
            await self._app(scope, receive, marked)
        else:
            refused = _error(421, "this server does not answer to that host name; see --host")
            await refused(scope, receive, marked)


def _host(header: str) -> str:
    """Return the name in a ``Host`` header, without the port.

    >>> [_host(header) for header in ("localhost:8000", "[::1]:8000", "127.0.0.1", "")]
    ['localhost', '::1', '127.0.0.1', '']
    """
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.rpartition(":")[0].lower() if ":" in header else header.lower()
