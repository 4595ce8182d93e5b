"""Where torch, Keras and the Hugging Face hub keep weights, and how they are fetched there.

The libraries' own variables are honoured: ``TORCH_HOME``, ``KERAS_HOME``, ``HF_HOME``,
``HF_HUB_CACHE``, ``HF_HUB_OFFLINE`` and ``XDG_CACHE_HOME``.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headstart.backbones.catalogue import Entry
from headstart.core.errors import BackboneError, one_line
from headstart.core.files import sha256_of

_SECONDS = 20  # without an answer from a server
_BLOB = re.compile(r"[0-9a-f]{64}")


def cached(entry: Entry) -> Path | None:
    """Return the weights' file in the library's cache, or None."""
    if not entry.url:
        return None
    if not entry.repo:
        path = _place(entry)
        return path if path.is_file() else None
    # The hub keeps revisions side by side and the name of the newest in refs/main.
    folder = _hub_folder(entry)
    try:
        revision = (folder / "refs" / "main").read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
    found = folder / "snapshots" / revision / entry.file
    return found if found.is_file() else None


def fetch(entry: Entry) -> Path:
    """Return the weights' file, downloading it into the library's cache if it is not there.

    Raises:
        BackboneError: none were published, there is no network, or the file is not the one that
            it should be; the message says what to fetch, from where, and where to put it.
    """
    if not entry.url:
        raise BackboneError(
            f"no weights of {entry.name} were published; give your own with --weights FILE, or "
            "--weights random for a trial"
        )
    path = cached(entry)
    if path is None:
        try:
            with _patience():
                path = _from_hub(entry) if entry.repo else _from_url(entry)
        except Exception as error:  # networks fail in many ways, each library with its own types
            raise BackboneError(_how_to_get(entry, error)) from error
    return path


def checked(entry: Entry, path: Path) -> str:
    """Return the SHA-256 of a file from the cache.

    Raises:
        BackboneError: it is not what the library's own records of that file say.
    """
    found = sha256_of(path)
    if entry.md5 and md5_of(path) != entry.md5:
        raise BackboneError(
            f"the weights in {one_line(path)} have MD5 {md5_of(path)}, not {entry.md5}; delete the "
            f"file to fetch it again from {entry.url}"
        )
    blob = path.resolve().name  # the hub names large files by their hash
    expected = blob if entry.repo and _BLOB.fullmatch(blob) else entry.sha256
    if not found.startswith(expected):
        raise BackboneError(
            f"the weights in {one_line(path)} have SHA-256 {found}, which should begin with "
            f"{expected}; delete the file to fetch it again from {entry.url}"
        )
    return found


def is_published(entry: Entry, path: Path, sha256: str) -> bool:
    """Say whether a file of that hash is the one that an entry's library publishes."""
    if entry.md5:
        return md5_of(path) == entry.md5
    return bool(entry.sha256) and sha256.startswith(entry.sha256)


def md5_of(path: Path) -> str:
    """Return a file's MD5 in hex, which is what Keras publishes; no proof against malice."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _from_url(entry: Entry) -> Path:
    import torch

    path = _place(entry)
    if _is_keras(entry):
        return _from_keras(entry, path)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.hub.download_url_to_file(
        entry.url, str(path), hash_prefix=entry.sha256 or None, progress=sys.stderr.isatty()
    )
    return path


def _from_keras(entry: Entry, path: Path) -> Path:
    from headstart.backbones.keras_import import import_keras

    with contextlib.redirect_stdout(sys.stderr):  # its progress; ours keeps stdout for results
        import_keras().utils.get_file(
            entry.file,
            entry.url,
            file_hash=entry.md5 or None,
            cache_subdir=path.parent.name,
            cache_dir=str(path.parent.parent),
        )
    return path


def _from_hub(entry: Entry) -> Path:
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()
    # Fails at once without a network, where the download would try for half a minute, aloud.
    get_hf_file_metadata(hf_hub_url(entry.repo, entry.file))
    return Path(hf_hub_download(entry.repo, entry.file))


def _how_to_get(entry: Entry, error: Exception) -> str:
    if entry.md5:
        proof = f"its MD5 is {entry.md5}"
    elif _is_keras(entry):
        proof = "Keras publishes no hash of it"
    elif entry.sha256:
        proof = f"its SHA-256 begins with {entry.sha256}"
    else:
        proof = f"its SHA-256 is shown at {entry.url.replace('/resolve/', '/blob/')}"
    if entry.repo:
        folder = _hub_folder(entry)
        where = (
            f"anywhere and name it with --weights FILE, or copy {folder} from a machine that has it"
        )
    else:
        where = f"at {_place(entry)}, or anywhere and name it with --weights FILE"
    return (
        f"the weights of {entry.name} are not on this machine and cannot be fetched "
        f"({one_line(error)[:240]}); fetch {entry.url} ({proof}) and put it {where}"
    )


def _is_keras(entry: Entry) -> bool:
    return entry.name.startswith("keras:")


def _place(entry: Entry) -> Path:
    """Return where torch or Keras looks for the file, without loading either.

    See ``torch.hub.get_dir`` and ``keras.utils.get_file``.
    """
    if _is_keras(entry):
        return Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser() / "models" / entry.file
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("TORCH_HOME") or f"{cache}/torch"
    return Path(home).expanduser() / "hub" / "checkpoints" / entry.file


def _hub_folder(entry: Entry) -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"models--{entry.repo.replace('/', '--')}"


@contextmanager
def _patience() -> Iterator[None]:
    """Give up on a server that never answers, which torch's loader would wait for."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
