"""The kinds of image sources: one class each, asked in turn whether it fits what the user names.

A new kind is one file: a `Source`, or a `Container` where it is a file that holds many images,
and one call of `register`. Everything that takes images then takes it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from headstart.core.errors import InputError, one_line
from headstart.core.records import ImageRef, Listing
from headstart.datasets import storage
from headstart.datasets.archives import PACKED
from headstart.datasets.listing import location


class SourceImage(NamedTuple):
    """An image of a source, for `headstart.datasets.read`."""

    listing: Listing
    ref: ImageRef

    @property
    def path(self) -> str:
        """Its file, or the path of its container and its own path in there."""
        if self.listing.reader is None:
            return str(location(*self))
        container = self.listing.name.rstrip("/")
        return f"{container}/{self.ref.path}" if container else self.ref.path


@dataclass(frozen=True)
class Options:
    """How to open sources that are downloaded.

    Attributes:
        cache: folder of torchvision's data sets; None is the user's cache folder.
        download: whether a data set that is missing may be downloaded.
    """

    cache: Path | None = None
    download: bool = True


class Source(ABC):
    """One kind of image source. Subclasses define `matches` and `list`."""

    name: str
    """What the kind is called in messages."""

    @abstractmethod
    def matches(self, data: str) -> bool:
        """Tell whether this kind opens what the user names."""

    @abstractmethod
    def list(self, data: str, options: Options) -> Listing:
        """Return the images with their labels and splits; no image is opened.

        Raises:
            InputError: the source cannot be read, contradicts itself, or has no images.
        """

    def stream(self, data: str, options: Options) -> Iterator[SourceImage]:
        """Yield the images one by one, for predicting; by default, those that `list` returns.

        Raises:
            InputError: as `list`.
        """
        listing = self.list(data, options)
        for ref in listing.images:
            yield SourceImage(listing, ref)


class Container(Source):
    """A kind of file that holds many images. Subclasses define `suffixes` and `list_files`.

    Such files can be named by path, URL, folder or pattern.
    """

    suffixes: tuple[str, ...]
    """What the names of the files end in, in lower case."""

    @abstractmethod
    def list_files(self, files: Sequence[str], names: Sequence[str], name: str) -> Listing:
        """Return the images of several files.

        Args:
            files: absolute paths or URLs.
            names: what each file is called in the paths of its images, if there are several.
            name: how the user named them.

        Raises:
            InputError: a file cannot be read or used, or there are no images.
        """

    def matches(self, data: str) -> bool:
        """Tell whether this is such a file, by its name."""
        return data.lower().endswith(self.suffixes) and storage.is_file(data)

    def list(self, data: str, options: Options) -> Listing:
        """Return the images of one file."""
        return list_containers({data.replace("\\", "/").rpartition("/")[2]: data}, data)


_sources: list[Source] = []


def register(source: Source) -> None:
    """Add a kind of source; it is asked before those that were registered earlier."""
    _sources.insert(0, source)


def unregister(source: Source) -> None:
    """Remove a kind of source that was registered."""
    _sources.remove(source)


def lookup(data: str) -> Source | None:
    """Return the kind that opens what the user names; None if there is none.

    Raises:
        InputError: it cannot be looked up: no permission, a name that is too long, no such URL.
    """
    try:
        return next((source for source in _sources if data and source.matches(data)), None)
    except InputError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        cause = getattr(error, "strerror", None) or one_line(error)
        raise InputError(f"cannot read {one_line(data)}: {cause}") from error


def find(data: str) -> Source:
    """Return the kind that opens what the user names.

    Raises:
        InputError: there is none, or it cannot be looked up.
    """
    source = lookup(data)
    if source is not None:
        return source
    if data and (storage.is_url(data) or Path(data).is_file()):
        raise unsupported(data, data)
    raise InputError(
        f"no such file or folder: {one_line(data) or '(empty)'}; give a folder of images, a CSV "
        "manifest, a file that holds images, a URL, or torchvision:NAME"
    )


def container_of(place: str) -> Container | None:
    """Return the kind of file that holds many images, by its name; None if it is none."""
    name = place.lower()
    for source in _sources:
        if isinstance(source, Container) and name.endswith(source.suffixes):
            return source
    return None


def list_containers(files: Mapping[str, str], name: str) -> Listing:
    """List the images of files that each hold many.

    Args:
        files: what each is called in the paths of its images: its path or URL.
        name: how the user named them.

    Raises:
        InputError: a file is of no supported kind, they are of different kinds, or one cannot be
            used.
    """
    kinds = {container_of(place) for place in files.values()}
    if len(kinds) > 1:
        raise InputError(
            f"{one_line(name)} has files of several kinds ({one_line(', '.join([*files][:3]))} …); "
            "give files of one kind"
        )
    kind = kinds.pop()
    if kind is None:
        raise unsupported(name, next(iter(files.values())))
    # Absolute paths, since workers on other machines have other working folders.
    places = [
        place if storage.is_url(place) else str(Path(place).absolute()) for place in files.values()
    ]
    return kind.list_files(places, list(files), name)


def unsupported(name: str, place: str) -> InputError:
    """Return the error for a file that is no source."""
    if place.lower().endswith(PACKED):
        return InputError(
            f"{one_line(name)} is compressed as a whole, so single images cannot be read from it; "
            "decompress it (gunzip) or write a .zip"
        )
    suffixes = [
        suffix
        for source in reversed(_sources)
        if isinstance(source, Container)
        for suffix in source.suffixes
    ]
    return InputError(
        f"{one_line(name)} is not a supported source; give a folder of images, a manifest (.csv or "
        f".tsv) that lists them, or a file that holds them ({', '.join(suffixes)})"
    )
