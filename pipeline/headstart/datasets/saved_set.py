"""Folders that Hugging Face's ``datasets`` wrote with ``save_to_disk``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from headstart.core.errors import InputError, one_line
from headstart.core.records import Listing
from headstart.datasets.parquet import TableSource
from headstart.datasets.registry import Options, Source

_SET, _SETS = "state.json", "dataset_dict.json"


class SavedSource(Source):
    """A saved ``Dataset`` or ``DatasetDict``."""

    name = "saved Hugging Face data set"
    has_columns = True

    def matches(self, data: str) -> bool:
        """Tell whether ``datasets`` wrote this folder."""
        folder = Path(data)
        return (folder / _SETS).is_file() or (
            (folder / _SET).is_file() and (folder / "dataset_info.json").is_file()
        )

    def list(self, data: str, options: Options) -> Listing:
        """List the images of the set; one with reordered rows is an `InputError`."""
        # Workers on other machines have other working folders.
        files, names = _data_files(Path(data).absolute())
        return TableSource(options).list_files(files, names, data)


def _data_files(folder: Path) -> tuple[list[str], list[str]]:
    """Return the data files of a saved set, and the name of each in the paths of its images."""
    parts = [folder]
    if (folder / _SETS).is_file():
        splits = _json(folder / _SETS).get("splits")
        splits = [str(split) for split in splits] if isinstance(splits, list) else []
        if not splits or any(Path(split).name != split for split in splits):
            raise InputError(f"{one_line(folder / _SETS)} names no splits; save the set again")
        parts = [folder / split for split in splits]
    files, names = [], []
    for part in parts:
        state = _json(part / _SET)
        if state.get("_indices_data_files") or state.get("_indices_files"):
            raise InputError(
                f"{one_line(part)} keeps its rows in another order than its files; call "
                "flatten_indices() before save_to_disk()"
            )
        for entry in state.get("_data_files") or []:
            file = str(entry.get("filename", "")) if isinstance(entry, dict) else ""
            if not file or Path(file).name != file:
                raise InputError(f"{one_line(part / _SET)} names a file outside its folder")
            files.append(str(part / file))
            split = part.name if part != folder else str(state.get("_split") or "")
            names.append(f"{split}/{file}" if split else file)
    if not files:
        raise InputError(f"{one_line(folder)} has no data files; save the set again")
    return files, names


def _json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot read {one_line(path)}; save the set again") from error
    return document if isinstance(document, dict) else {}
