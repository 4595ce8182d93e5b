"""What the names of files and folders say: images, files of the system, others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from functools import lru_cache

from headstart.core.errors import one_line
from headstart.datasets.images import header

EXTENSIONS = frozenset(
    "jpg jpeg jpe jfif pjpeg pjp mpo png apng webp bmp dib tif tiff gif avif heic heif hif".split()
)
"""What the names of image files end in, in lower case."""

METADATA = ("metadata.csv", "metadata.jsonl")
"""The names of files that may describe images."""

NOT_IMAGE = "not an image"

_SYSTEM = frozenset(
    (
        # macOS, and what its servers leave
        *("__macosx", "_macosx", "temporary items", "network trash folder"),
        *("thevolumesettingsfolder", "desktop db", "desktop df", "icon\r"),
        # Windows
        *("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "$recycle.bin"),
        *("recycler", "recycled", "system volume information", "$extend", "found.000"),
        # NAS: Synology, QNAP, NetApp
        *("@eadir", "@tmp", "@sharebin", "@appstore", "@quarantine", "@recycle"),
        *("@recently-snapshot", "@__thumb", "#recycle", "#snapshot", "~snapshot"),
        # Linux, Android, tools
        *("lost+found", "lost.dir", "thumbnails", "node_modules", "__pycache__", "_gsdata_"),
    )
)
_LOCKED = "~$"  # how Office begins the names of files that are open
_LONGEST_EXTENSION = 10  # anything longer is part of the name
_RAW = frozenset("3fr arw cr2 dng erf iiq kdc mef mos nef nrw orf pef raf rw2 sr2 srw".split())
_EXAMPLES = 100  # ignored files that are looked into, and of one kind:
_OF_A_KIND = 10
_START = 12  # bytes that say what a file is


class Ignored(Counter[str]):
    """Counts of ignored files by reason.

    Attributes:
        examples: paths of some that may be images.
        metadata: paths of those that may describe images.
        tables: paths of others that may list images, of those beside all folders.
    """

    def __init__(self) -> None:
        super().__init__()
        self.examples: list[str] = []
        self.metadata: list[str] = []
        self.tables: list[str] = []
        self._of_kind: Counter[str] = Counter()

    def add(self, reason: str, path: str) -> None:
        """Count a file that is ignored."""
        self[reason] += 1
        folder, _, name = path.rpartition("/")
        if name in METADATA:
            self.metadata.append(path)
        elif not folder and extension_of(name) in ("csv", "tsv"):
            self.tables.append(path)
        if reason.startswith(NOT_IMAGE) and len(self.examples) < _EXAMPLES:
            self._of_kind[reason] += 1
            if self._of_kind[reason] <= _OF_A_KIND:
                self.examples.append(path)

    def counts(self) -> dict[str, int]:
        """Return the counts that are not zero."""
        return {reason: number for reason, number in self.items() if number}

    def remarks(self, read: Callable[[str, int], bytes], stem: str) -> list[str]:
        """Say which of the examples begin like an image.

        ``read`` returns a file's first bytes; ``stem`` is left out of names.
        """
        hits = sorted(path for path in self.examples if _is_image(path, read))
        if not hits:
            return []
        first = one_line(hits[0].removeprefix(stem))
        return [
            f"{len(hits):,} of {len(self.examples):,} ignored files that were looked into "
            f"{'is an image' if len(hits) == 1 else 'are images'} by the first bytes, such as "
            f"{first}; give them the extension of an image, such as .jpg or .png."
        ]


def _is_image(path: str, read: Callable[[str, int], bytes]) -> bool:
    if extension_of(path.rpartition("/")[2]) in _RAW:
        return False
    try:
        return header.kind(read(path, _START)) not in (None, "BMP")  # BM begins many a text
    except OSError:
        return False


def is_image_name(name: str) -> bool:
    """Tell whether a name has the extension of an image."""
    return "." in name and extension_of(name) in EXTENSIONS


def extension_of(name: str) -> str:
    """Return what follows the last dot of a name, in lower case."""
    return name.rpartition(".")[2].lower() if "." in name else ""


def clutter(name: str) -> str:
    """Return why to ignore a file or folder with this name; empty if there is no reason."""
    if name.startswith("."):
        return "hidden"
    system = name.startswith(_LOCKED) or name.casefold() in _SYSTEM
    return "system file" if system else ""


def kind_of_name(name: str) -> str:
    """Return ``image`` for a file with the extension of an image, else the reason to ignore it.

    >>> kind_of_name("a.PNG"), kind_of_name("a.jpg.1"), kind_of_name("README")
    ('image', 'not an image: .jpg.1', 'not an image')
    """
    if reason := clutter(name):
        return reason
    if is_image_name(name):
        return "image"
    stem, _, extension = name.lower().rpartition(".")
    if extension.isdecimal():  # a copy, or a part of a name such as 1.2.840
        extension = f"{extension_of(stem)}.{extension}"
    extension = extension if stem else ""
    if extension[:1].isalpha() and extension.isprintable() and len(extension) <= _LONGEST_EXTENSION:
        return f"{NOT_IMAGE}: .{extension}"
    return NOT_IMAGE


def sorted_out(paths: Iterable[str], ignored: Ignored) -> list[str]:
    """Return the paths of images, with ``/``; the others are counted as ignored."""
    images = []
    for path in paths:
        folder, _, file = path.rpartition("/")
        kind = _clutter_above(folder) or kind_of_name(file)
        if kind == "image":
            images.append(path)
        else:
            ignored.add(kind, path)
    return images


@lru_cache(maxsize=4096)
def _clutter_above(folder: str) -> str:
    """Return why to ignore everything in a folder; empty if there is no reason."""
    return next((kind for part in folder.split("/") if (kind := clutter(part))), "")
