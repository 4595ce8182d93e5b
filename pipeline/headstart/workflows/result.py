"""What training returns: the results, the leaderboard, and the model to predict with."""

from __future__ import annotations

import shutil
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

from headstart.core.choices import MAPS
from headstart.core.errors import InputError
from headstart.workflows import artifacts, leaderboard
from headstart.workflows.locations import StrPath
from headstart.workflows.progress import Steps, showing

if TYPE_CHECKING:
    import pandas as pd

    from headstart.core.hooks import Hooks
    from headstart.core.records import FeatureSet
    from headstart.core.results import Comparison
    from headstart.evaluation.compare import CompareConfig, Outcome
    from headstart.models.predict import Prediction

AFTER = 2  # steps after the comparison: the report and the model


class Result:
    """The results of a training, and its best model.

    Attributes:
        folder: where the files are; None if they are not written yet.
        history: epochs and settings of a fine-tuning; empty for heads.
    """

    def __init__(
        self,
        results: dict[str, Any] | None,
        folder: Path | None,
        history: dict[str, Any] | None = None,
    ) -> None:
        self._results = results
        self.folder = folder
        self.history = history or {}

    @property
    def results(self) -> dict[str, Any]:
        """The document of ``results.json``."""
        return self._results or {}

    def __repr__(self) -> str:
        heads, headline = len(self.results["heads"]), leaderboard.headline(self.results)
        return f"<{type(self).__name__} of {heads} heads: {headline}>"

    def _repr_html_(self) -> str:
        return leaderboard.as_html(self.results)

    @property
    def warnings(self) -> list[str]:
        """Sentences that a reader of the results must see."""
        return [warning["text"] for warning in self.results["warnings"]]

    def leaderboard(self) -> pd.DataFrame | list[dict[str, Any]]:
        """Return heads, best first, then baselines: a data frame if pandas is installed, else rows.

        Accuracies are fractions; ``log_loss`` is in nats; ``seconds`` is the wall time of search
        and refit; ``p`` tests each head against the best one on the same images, adjusted for all
        heads, and ``mcnemar_p`` is the one before the adjustment.
        """
        rows = leaderboard.rows(self.results)
        try:
            import pandas as pd
        except ImportError:
            return rows
        return pd.DataFrame(rows)

    def predict(
        self,
        images: StrPath | Sequence[StrPath],
        *,
        min_confidence: float = 0.0,
        target: str | float | None = None,
        workers: int | None = None,
    ) -> Iterator[Prediction]:
        """Yield the best model's prediction for every image; see `headstart.predict`."""
        from headstart.workflows.models import predict

        yield from predict(
            self._model_file(),
            images,
            min_confidence=min_confidence,
            target=target,
            workers=workers,
        )

    def _model_file(self) -> Path:
        if self.folder is None:
            raise InputError("the model is not written yet; save the result first")
        return self.folder / artifacts.MODEL


@dataclass
class Training:
    """A comparison of heads that runs when you first ask for its outcome."""

    data: list[FeatureSet]
    config: CompareConfig
    groups: Mapping[str, str]
    stores: Sequence[str]
    _fitted: tuple[Comparison, Outcome] | None = None

    def run(
        self, hooks: Hooks | None = None, chosen: Callable[[FeatureSet], None] | None = None
    ) -> tuple[Comparison, Outcome]:
        """Train and compare the heads, once; ``chosen`` gets the store of the best in between."""
        if self._fitted is None:
            from headstart.evaluation.compare import compare, count_steps

            def notify(digest: str) -> None:
                if chosen is not None:
                    chosen(next(store for store in self.data if store.digest == digest))

            with showing("training", hooks) as shown:
                steps = Steps(shown, count_steps(self.data, self.config) + AFTER)
                comparison, outcome = compare(
                    self.data, self.config, self.groups, shown.notice, steps.begin, notify
                )
            self._fitted = artifacts.stamped(comparison, self.stores), outcome
        return self._fitted


class HeadsResult(Result):
    """Trained and compared heads, as `headstart.train_heads` returns them.

    Attributes:
        up_to_date: whether the results of these inputs were already on disk.
    """

    def __init__(
        self, training: Training, saved: dict[str, Any] | None, folder: Path | None
    ) -> None:
        super().__init__(saved, folder)
        self.up_to_date = saved is not None
        self._training = training
        self._scratch: Path | None = None

    @property
    def results(self) -> dict[str, Any]:
        """The document of ``results.json``."""
        if self._results is None:
            self._results = self.comparison.to_json()
        return self._results

    @property
    def comparison(self) -> Comparison:
        """The record of the comparison; ``results`` is its JSON document."""
        return self._training.run()[0]

    @property
    def outcome(self) -> Outcome:
        """The fitted heads, the protocol, duplicates and suspected labels."""
        return self._training.run()[1]

    @property
    def best_estimator_(self) -> Any:  # noqa: ANN401 - a scikit-learn classifier
        """The head that cross-validation chose: a fitted scikit-learn classifier.

        It takes ``(n, d) float32`` features and returns codes that index `classes`. If the results
        were already on disk, the heads are trained again when you first ask for it.
        """
        return self.outcome.best.head.estimator

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names."""
        return tuple(self.results["dataset"]["classes"])

    def save(
        self,
        folder: StrPath,
        *,
        map_method: str = MAPS[0],
        head_formats: Sequence[str] = (),
        hooks: Hooks | None = None,
    ) -> Path:
        """Write what ``headstart train-heads`` writes, model and report included.

        Args:
            folder: where; it is made if it is missing.
            map_method: how the report's map is made, one of `core.choices.MAPS`.
            head_formats: any of `core.choices.HEAD_FORMATS`: the head for scikit-learn, too.
                ``joblib`` files are pickles, which run any code in them when they are loaded.
            hooks: receives notices.

        Returns:
            The folder.

        Raises:
            OutputError: a file cannot be written.
            HeadstartError: a package for ``map_method`` or ``head_formats`` is not installed.
        """
        from headstart.core.files import make_folder
        from headstart.core.parallel import run_beside
        from headstart.evaluation.compare import count_steps
        from headstart.heads import saving
        from headstart.report import Places, begin_map, projection

        out = Path(folder)
        projection.check(map_method)
        make_folder(out)
        with showing("training", hooks) as shown:
            maps: list[Places] = []  # of the best head's store
            comparison, outcome = self._training.run(
                shown, lambda store: maps.append(begin_map(store, map_method))
            )
            data = self._training.data
            finished = count_steps(data, self._training.config)
            steps = Steps(shown, finished + AFTER, finished)
            steps.begin("report")
            places = maps[0] if maps else None
            if places is not None:
                places()  # first: both the map and the model set filters of warnings
            model = run_beside(lambda: artifacts.write_model(out, comparison, outcome))
            try:
                artifacts.write_comparison(out, comparison, outcome, data, map_method, places)
            finally:
                steps.begin("model")
                agreement = model.result()
            shown.notice(agreement)
        for kind in head_formats:
            saving.save(outcome.best.head.estimator, out, kind)
        self.folder = out
        return out

    def _model_file(self) -> Path:
        """Return the model; for an unsaved result, a file that lives as long as this object."""
        if self.folder is not None:
            return super()._model_file()
        if self._scratch is None:
            self._scratch = Path(mkdtemp(prefix="headstart-"))
            weakref.finalize(self, shutil.rmtree, self._scratch, ignore_errors=True)
            artifacts.write_model(self._scratch, self.comparison, self.outcome)
        return self._scratch / artifacts.MODEL
