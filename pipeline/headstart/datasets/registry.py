"""The registry of image sources. Each kind is a class that tells whether it opens a name.

To add a kind, write a `Source`, or a `Container` for a file that holds many images, and call
`register`. Every command that takes images then accepts it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from headstart.core import targets
from headstart.core.errors import InputError, one_line
from headstart.core.records import ImageRef, Listing
from headstart.datasets import signatures, storage
from headstart.datasets.archives import PACKED
from headstart.datasets.file_names import is_image_name
from headstart.datasets.listing import location


class SourceImage(NamedTuple):
    """An image of a source, for `headstart.datasets.read`."""

    listing: Listing
    ref: ImageRef

    @property
    def path(self) -> str:
        """Path of its file, or its path within a container, after the container's own."""
        if self.listing.reader is None:
            return str(location(*self))
        container = self.listing.name.rstrip("/")
        return f"{container}/{self.ref.path}" if container else self.ref.path


@dataclass(frozen=True)
class Options:
    """What a user may say about a source: how `headstart.datasets.open_source` reads it.

    Attributes:
        cache: folder of torchvision's data sets; None is in the user's cache folder.
        download: whether missing ones are downloaded.
        label_column: the column with the labels; empty to find it by its name.
        path_column: the column with the images' paths, likewise.
        labels: whether labels are needed; without them, tables need no column of labels.
        target: the name of a target type (`headstart.core.targets`); empty takes what the source
            looks like.
        label_columns: the 0/1 columns of a multi-label table, one a label.
    """

    cache: Path | None = None
    download: bool = True
    label_column: str = ""
    path_column: str = ""
    labels: bool = True
    target: str = ""
    label_columns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Reject options that contradict each other, and an unknown target."""
        if self.target:
            targets.by_name(self.target)
        if self.label_columns and self.target == targets.SINGLE_LABEL:
            raise InputError(
                "--label-columns names several labels of an image; leave out --target single-label"
            )
        if self.label_columns and self.label_column:
            raise InputError("choose one of --label-column and --label-columns")

    @property
    def columns(self) -> str:
        """The command line's option that names a column; empty if none does."""
        named = {
            "--label-column": self.label_column,
            "--label-columns": self.label_columns,
            "--path-column": self.path_column,
        }
        return next((option for option, value in named.items() if value), "")


DEFAULTS = Options()


class Source(ABC):
    """One kind of image source. Subclasses define `matches` and `list`."""

    name: str
    """What the kind is called in messages."""

    has_columns = False
    """Whether the user can name the columns with labels and paths."""

    @abstractmethod
    def matches(self, data: str) -> bool:
        """Tell whether this kind of source opens ``data``, the user's name for the source."""

    @abstractmethod
    def list(self, data: str, options: Options) -> Listing:
        """Return the images with their labels and splits, without opening them.

        Raises:
            InputError: the source cannot be read, contradicts itself, or has no images.
        """

    def stream(self, data: str, options: Options) -> Iterator[SourceImage]:
        """Yield the images one by one, for prediction; by default, those that `list` returns."""
        listing = self.list(data, options)
        for ref in listing.images:
            yield SourceImage(listing, ref)


class Container(Source):
    """A kind of file that holds many images, named by path, URL, folder or pattern.

    Subclasses define `suffixes` and `list_files`.
    """

    suffixes: tuple[str, ...]
    """What the names of the files end in, in lower case."""

    @abstractmethod
    def list_files(self, files: Sequence[str], names: Sequence[str], name: str) -> Listing:
        """Return the images in files, given as absolute paths or URLs.

        If there are several files, ``names`` are their names in the paths of their images. ``name``
        is the user's name for all of them. Raises an `InputError` if there are no images.
        """

    def matches(self, data: str) -> bool:
        """Tell whether this is a file with one of the suffixes."""
        return data.lower().endswith(self.suffixes) and storage.is_file(data)

    def list(self, data: str, options: Options) -> Listing:
        """Return the images of one file."""
        name = data.replace("\\", "/").rpartition("/")[2]
        return list_containers({name: data}, data, options)

    def configured(self, options: Options) -> Container:
        """Return this kind of container with the user's options, if it has any."""
        return self


_sources: list[Source] = []


def register(source: Source) -> None:
    """Add a kind of source, which takes precedence over those registered earlier."""
    _sources.insert(0, source)


def unregister(source: Source) -> None:
    """Remove a registered kind of source."""
    _sources.remove(source)


def lookup(data: str) -> Source | None:
    """Return the kind of source that opens ``data``; None if there is none.

    Raises:
        InputError: the name cannot be checked: no permission, too long, or no such URL.
    """
    try:
        return next((source for source in _sources if data and source.matches(data)), None)
    except InputError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        cause = getattr(error, "strerror", None) or one_line(error)
        raise InputError(f"cannot read {one_line(data)}: {cause}") from error


def find(data: str) -> Source:
    """Return the kind of source that opens ``data``; an `InputError` if there is none."""
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
    """Return the kind of container with the suffix of a file; None if there is none."""
    name = place.lower()
    for source in _sources:
        if isinstance(source, Container) and name.endswith(source.suffixes):
            return source
    return None


def list_containers(files: Mapping[str, str], name: str, options: Options = DEFAULTS) -> Listing:
    """List the images of containers, which ``files`` maps from short names to paths or URLs.

    The short names begin the paths of the images. ``name`` is the user's name for all containers.

    Raises:
        InputError: a file is of no supported kind, or they are of different kinds.
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
    refuse_columns(kind, name, options)
    # Workers on other machines have other working folders.
    places = [
        place if storage.is_url(place) else str(Path(place).absolute()) for place in files.values()
    ]
    return kind.configured(options).list_files(places, list(files), name)


def refuse_columns(source: Source, name: str, options: Options) -> None:
    """Raise an `InputError` if a column is named, but this kind of source has none."""
    if options.columns and not source.has_columns:
        raise InputError(
            f"{one_line(name)}, a {source.name}, has no columns; leave out {options.columns}, or "
            "list the images in a CSV"
        )


def unsupported(name: str, place: str) -> InputError:
    """Return the error for a file that is not a source."""
    if place.lower().endswith(PACKED):
        return InputError(
            f"{one_line(name)} is compressed as a whole, so single images cannot be read from it; "
            "decompress it (gunzip) or write a .zip"
        )
    mistaken = "" if is_image_name(place) else signatures.of_file(place, "a source")
    if mistaken:
        return InputError(f"{one_line(name)} is {mistaken}")
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
