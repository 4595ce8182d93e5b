"""What ``--help`` shows: options in groups, examples at the end, and options of every command."""

from __future__ import annotations

from typing import Any

import click

from headstart.cli import console

_GROUPS = {  # title: parameters of any command; all others are simply options
    "Network": (
        *("backbone", "weights", "layers", "pool", "preprocess", "precision", "max_drift"),
        *("quality", "fit", "size", "image_views"),
        *("max_accuracy_loss", "named", "only_named", "at_hand", "mode", "boundary"),
    ),
    "Comparison": (
        *("heads", "list_heads", "folds", "repeats", "validation", "holdout", "groups"),
        "group_answer",
        *("class_weight", "small_classes", "per_label", "precision_at_least", "recall_at_least"),
        "near_duplicates",
    ),
    "Training": ("views", "epochs", "lr", "patience"),
    "Images": (
        *(
            "label_column",
            "path_column",
            "label_columns",
            "target",
            "no_labels",
            "replace",
            "value_range",
        ),
        *("colour", "on_error", "max_failures", "rehash", "images"),
    ),
    "Speed and memory": ("workers", "device", "batch_size", "stream_above"),
    "Several files or machines": (
        *("engine", "address", "shard_size", "gpus_per_worker", "threads_per_worker"),
    ),
    "Messages": ("verbose", "quiet", "log_file", "debug"),
}
_GROUP_OF = {name: title for title, names in _GROUPS.items() for name in names}
_OTHER = "Options"


class Command(click.Command):
    """A command with the options of every command, and help in groups.

    ``examples`` are lines to type, without ``headstart``.
    """

    def __init__(self, *args: Any, examples: str = "", **kwargs: Any) -> None:  # noqa: ANN401
        lines = "".join(f"\n  headstart {line}" for line in examples.strip().splitlines())
        super().__init__(*args, **kwargs)
        self.epilog = f"\b\nExamples:{lines}"
        self.params += console.options()

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, those without a group first."""
        rows: dict[str, list[tuple[str, str]]] = {title: [] for title in (_OTHER, *_GROUPS)}
        for param in self.get_params(ctx):
            row = param.get_help_record(ctx)
            if row is not None and isinstance(param, click.Option):
                rows[_GROUP_OF.get(param.name or "", _OTHER)].append(row)
        for title, options in rows.items():
            if options:
                with formatter.section(title):
                    formatter.write_dl(options)
