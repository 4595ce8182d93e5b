"""The names of the files that commands write into their output folders."""

from __future__ import annotations

RESULTS = "results.json"
PREDICTIONS = "predictions.csv"
GROUP_PREDICTIONS = "group_predictions.csv"  # where there are groups
LABEL_ISSUES = "label_issues.csv"
DUPLICATES = "duplicates.csv"
SESSIONS = "sessions.csv"
MODEL = "model.onnx"
CARD = "MODEL_CARD.md"
EXAMPLE = "predict_example.py"
REPORT = "report.html"

BACKBONE = "backbone.onnx"
HISTORY = "history.json"  # of fine-tuning
CURVES = "curves.svg"
