"""Decoding in a child process, for files that are not `header.is_ordinary`.

A thread cannot be stopped, and a decoder that crashes takes its process with it. So each thread
that meets such files has a child process, limited to `MAX_SECONDS` per file and to `MAX_MEMORY`.
"""

from __future__ import annotations

import struct
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.core import sandbox
from headstart.core.errors import ImageError, one_line
from headstart.core.preprocess import Preprocess
from headstart.core.sandbox import Ended
from headstart.datasets.images import pixels, surveys

MAX_SECONDS = 30  # of processor time
MAX_MEMORY = 6 << 30  # address space; 178 million pixels with alpha need 4 GiB
MAX_WAIT = 20 * MAX_SECONDS  # of wall time

_REASONS = {
    Ended.CRASH: "the decoder crashed on it",
    Ended.SILENCE: "gave up decoding it: no answer in time",
    Ended.START: "no process to decode it in",
}
_QUESTION = "question"
_SHAPE = struct.Struct("<II")  # height and width, before the pixels
_local = threading.local()


def decode(data: bytes, preprocess: Preprocess, seconds: int | None = None) -> NDArray[np.uint8]:
    """Decode a file in a child process; ``seconds`` limits its processor time.

    Raises:
        ImageError: the file cannot be decoded, a limit is reached, or the decoder crashes.
    """
    answered = _ask(data, preprocess.to_json(), seconds)
    height, width = _SHAPE.unpack_from(answered)
    return np.frombuffer(answered, np.uint8, offset=_SHAPE.size).reshape(height, width, 3)


def look(data: bytes, question: str) -> bytes:
    """Answer one of `surveys.QUESTIONS` in a child process; errors as for `decode`."""
    return _ask(data, {_QUESTION: question}, None)


def _ask(data: bytes, request: dict[str, Any], seconds: int | None) -> bytes:
    seconds = MAX_SECONDS if seconds is None else seconds
    worker: sandbox.Worker | None = getattr(_local, "worker", None)
    if worker is None or worker.seconds != seconds:
        try:
            worker = _local.worker = sandbox.Worker(f"{__name__}:answer", seconds, MAX_MEMORY)
        except OSError as error:
            raise ImageError(f"{_REASONS[Ended.START]}: {one_line(error.strerror)}") from None
    try:
        success, answer = worker.ask(data, request, MAX_WAIT)
    except Ended as ended:
        _local.worker = None
        late = f"takes longer than {seconds} s to decode"
        raise ImageError(_REASONS.get(str(ended), late)) from None
    if not success:
        raise ImageError(answer.decode())
    return answer


def answer(data: bytes, request: dict[str, Any]) -> bytes:
    """Return the pixels of a file, or the answer of a survey, in the child process."""
    if _QUESTION in request:
        return surveys.QUESTIONS[request[_QUESTION]](data)
    array = pixels.decode(data, Preprocess.from_json(request))
    return _SHAPE.pack(*array.shape[:2]) + array.tobytes()
