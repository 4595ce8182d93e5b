"""Downloaded weights: where libraries and the Hugging Face hub store them, and how to get them.

The hub's variables apply: ``HF_HOME``, ``HF_HUB_CACHE``, ``HF_HUB_OFFLINE``, ``XDG_CACHE_HOME``.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from headstart.backbones import hub_errors, shards
from headstart.backbones.catalogue import Entry
from headstart.core.errors import BackboneError, HeadstartError, one_line
from headstart.core.files import sha256_of

_SECONDS = 20  # to wait for a server's answer
_BLOB = re.compile(r"[0-9a-f]{64}")


def cached(entry: Entry, path: Path) -> Path | None:
    """Return the cached file of an entry's weights, or None if it is not on this machine.

    ``path`` is where the library stores the file if it is in no repository of the hub.
    """
    if not entry.url:
        return None
    if not entry.repo:
        return path if path.is_file() else None
    # The hub keeps revisions side by side and the name of the newest in refs/main.
    revision = entry.revision
    try:
        folder = hub_folder(entry.repo)
        revision = revision or (folder / "refs" / "main").read_text(encoding="utf-8").strip()
    except (OSError, ValueError, HeadstartError):  # the last without the hub's library
        return None
    snapshot = folder / "snapshots" / revision / entry.file
    parts = [snapshot]
    if shards.is_index(entry.file) and snapshot.is_file():
        parts += shards.files_of(snapshot)
    return snapshot if all(part.is_file() for part in parts) else None


def fetch(entry: Entry, path: Path, fetch_file: Callable[[Entry, Path], None]) -> Path:
    """Return the file of an entry's weights, downloading it if it is not on this machine.

    ``path`` is as in `cached`; ``fetch_file`` puts the file there.

    Raises:
        BackboneError: no weights were published, or the download failed; the message says what to
            fetch, from where, and where to put it.
    """
    if not entry.url:
        raise BackboneError(
            f"no weights of {entry.name} were published; give your own with --weights FILE, or "
            "--weights random for a trial"
        )
    existing = cached(entry, path)
    if existing is not None:
        return existing
    try:
        with server_timeout():
            if entry.repo:
                file = download(entry.repo, entry.file, entry.revision)
                for part in shards.files_of(file) if shards.is_index(entry.file) else ():
                    download(entry.repo, part.name, entry.revision)
                return file
            fetch_file(entry, path)
            return path
    except BackboneError:
        raise
    except Exception as error:  # each library has its own types of network errors
        refusal = hub_errors.explained(entry.repo, entry.revision, error) if entry.repo else None
        raise refusal or BackboneError(_how_to_get(entry, path, error)) from error


def checked(entry: Entry, path: Path) -> str:
    """Check a cached file against the hash that its library publishes, and return its SHA-256.

    That of an index is of all files that it names, each of which is checked.
    """
    if shards.is_index(path.name):
        return shards.sha256_of(path, lambda part: checked(entry, part))
    sha256 = sha256_of(path)
    if entry.md5 and md5_of(path) != entry.md5:
        raise BackboneError(
            f"the weights in {one_line(path)} have MD5 {md5_of(path)}, not {entry.md5}; delete the "
            f"file to fetch it again from {entry.url}"
        )
    # The hub names large files by their hash; without that file, a link to it would be made again.
    stored = path.resolve() if entry.repo else path
    expected = stored.name if entry.repo and _BLOB.fullmatch(stored.name) else entry.sha256
    if not sha256.startswith(expected):
        raise BackboneError(
            f"the weights in {one_line(stored)} have SHA-256 {sha256}, which should begin with "
            f"{expected}; delete the file to fetch it again from {entry.url}"
        )
    return sha256


def is_published(entry: Entry, path: Path, sha256: str) -> bool:
    """Say whether a file with that hash is the one that the entry's library publishes."""
    if entry.md5:
        return md5_of(path) == entry.md5
    return bool(entry.sha256) and sha256.startswith(entry.sha256)


def md5_of(path: Path) -> str:
    """Return a file's MD5 in hex, as Keras publishes it; it is no protection against tampering."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def download(repository: str, file: str, revision: str = "") -> Path:
    """Fetch a file of a repository of the Hugging Face hub into the hub's cache."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()
    # Without a network this fails at once; the download would print retries for half a minute.
    get_hf_file_metadata(hf_hub_url(repository, file, revision=revision or None))
    return Path(hf_hub_download(repository, file, revision=revision or None))


def _how_to_get(entry: Entry, path: Path, error: Exception) -> str:
    address = entry.url
    if entry.repo:
        hub = hub_errors.library()  # knows the mirror that HF_ENDPOINT names
        address = hub.hf_hub_url(entry.repo, entry.file, revision=entry.revision or None)
    if entry.md5:
        proof = f"its MD5 is {entry.md5}"
    elif entry.sha256:
        proof = f"its SHA-256 begins with {entry.sha256}"
    elif entry.repo:
        proof = f"its SHA-256 is shown at {address.replace('/resolve/', '/blob/')}"
    else:
        proof = "no hash of it is published"
    if entry.repo:
        folder = hub_folder(entry.repo)
        where = (
            f"anywhere and name it with --weights FILE, or copy {folder} from a machine that has it"
        )
    else:
        where = f"at {path}, or anywhere and name it with --weights FILE"
    return (
        f"the weights of {entry.name} are not on this machine and cannot be fetched "
        f"({hub_errors.reason(error)}); fetch {address} ({proof}) and put it {where}"
    )


def hub_folder(repository: str) -> Path:
    """Return where the hub's cache has a repository.

    Raises:
        HeadstartError: the hub's library, which knows that, is not installed.
    """
    constants = hub_errors.library().constants
    return Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"


@contextmanager
def server_timeout() -> Iterator[None]:
    """Give up on a server that never answers; torch's loader would wait forever."""
    import socket

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
