"""Stage: features that another program computed become a feature store without images."""

from headstart.features.imported.reading import (
    Rows,
    is_features,
    is_store,
    of_array,
    of_store,
    read_rows,
)
from headstart.features.imported.stage import Imported, import_rows, label_rows

__all__ = [
    "Imported",
    "Rows",
    "import_rows",
    "is_features",
    "is_store",
    "label_rows",
    "of_array",
    "of_store",
    "read_rows",
]
