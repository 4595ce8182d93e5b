from __future__ import annotations

import json
from pathlib import Path

import pytest
from factories import results_document


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder that holds results and nothing else."""
    (tmp_path / "results.json").write_text(json.dumps(results_document()), encoding="utf-8")
    return tmp_path
