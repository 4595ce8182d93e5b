"""CVAT for images 1.1: tags of images as labels, and files of guesses to upload.

Format: https://docs.cvat.ai/docs/contributing/advanced-topics/xml_format/.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

from headstart.core.errors import InputError, one_line
from headstart.core.records import Listing
from headstart.datasets import label_files, splits
from headstart.datasets.label_files import LabelledFile, Task
from headstart.datasets.registry import Options, Source


class CvatSource(Source):
    """``annotations.xml`` of an export as CVAT for images: ``<image name><tag label>``.

    An image without a tag has no label yet. Shapes are left alone. The subset is the split.
    """

    name = "CVAT file"

    def matches(self, data: str) -> bool:
        """Tell whether this is an XML file whose root is ``annotations``."""
        return "<annotations" in label_files.begins_as(data, ".xml")

    def list(self, data: str, options: Options) -> Listing:
        """List the images that the file names."""
        shown = one_line(data)
        try:
            content = Path(data).read_bytes()
            if b"<!ENTITY" in content:
                raise InputError(f"{shown} defines entities, which CVAT never does; export again")
            tree = ElementTree.fromstring(content)
        except OSError as error:
            raise InputError(f"cannot read {shown}: {error.strerror}") from error
        except ElementTree.ParseError as error:
            raise InputError(f"{shown} is not XML ({one_line(error)}); correct it") from error
        if tree.find("track") is not None and tree.find("image") is None:
            raise InputError(f"{shown} is of a video; export it as CVAT for images")
        return label_files.listing(data, _entries(tree, shown), options, ("", "images"))


def _entries(tree: ElementTree.Element, shown: str) -> Iterator[LabelledFile]:
    for image in tree.iter("image"):
        name = image.get("name") or ""
        place = f"{shown}, image {one_line(name or image.get('id') or '')}"
        labels = tuple(tag.get("label") or "" for tag in image.iter("tag"))
        subset = splits.split_of(image.get("subset") or "")
        paths = [f"{image.get('subset')}/{name}"] if image.get("subset") else []
        yield LabelledFile(place, [name, *paths], labels or None, subset)


def guesses(images: Sequence[Task], classes: Iterable[str]) -> str:
    """Return a file of guesses to upload as annotations of a task with the same images."""
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    task = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task")
    ElementTree.SubElement(task, "size").text = str(len(images))
    ElementTree.SubElement(task, "mode").text = "annotation"
    labels = ElementTree.SubElement(task, "labels")
    for name in classes:
        label = ElementTree.SubElement(labels, "label")
        ElementTree.SubElement(label, "name").text = name
        ElementTree.SubElement(label, "type").text = "tag"
    for number, image in enumerate(images):
        element = ElementTree.SubElement(root, "image", {"id": str(number), "name": image.path})
        for guess, _ in image.guesses:
            ElementTree.SubElement(element, "tag", {"label": guess, "source": "auto"})
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ElementTree.tostring(root, "unicode")}\n'
