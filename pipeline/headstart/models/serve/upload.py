"""Request bodies, with limits on size and time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

_FIELDS = 8  # of a form, beside the image


async def image_bytes(request: Request, limit: int, seconds: float) -> bytes:
    """Return the image of a request: its body, or the one file of a ``multipart/form-data`` form.

    The body may have ``limit`` bytes, and has to arrive within ``seconds``.

    Raises:
        HTTPException: 400 without an image, 408 if it does not arrive, 413 if it is too large.
    """
    try:
        async with asyncio.timeout(seconds):
            body = await _body(request, limit)
    except TimeoutError:
        raise HTTPException(408, f"the image did not arrive within {seconds:g} s") from None
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        body = await _file(request, body)
    if not body:
        raise HTTPException(400, "no image; send one as the body, or as a file in a form")
    return body


async def _body(request: Request, limit: int) -> bytes:
    """Read the body to its end, even one that is too large, so that its sender sees the answer."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size <= limit:
            parts.append(part)
        else:
            parts.clear()
    if size > limit:
        raise HTTPException(413, f"the image is larger than {limit:,} bytes; send a smaller one")
    return b"".join(parts)


async def _file(request: Request, body: bytes) -> bytes:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    parser = MultiPartParser(request.headers, stream(), max_files=1, max_fields=_FIELDS)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise HTTPException(400, f"the form cannot be read: {error.message}") from None
    try:
        for _, value in form.multi_items():
            if isinstance(value, UploadFile):
                return await value.read()
        return b""
    finally:
        await form.close()
