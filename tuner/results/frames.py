"""A sweep's runs as a pandas table of typed, flat columns, and as a file in CSV, JSON or Parquet."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from trainables.common.valid_json import dump_json
from trainables.evaluation.metrics import TIME, all_metrics
from trainables.storage.atomic import write_whole
from tuner.errors import UserError
from tuner.sweep.runs import Record, describe_ratio

Format = Literal["csv", "json", "parquet"]
_RUN_COLUMNS = {
    "run": "string",
    "kind": "string",
    "trainable": "string",
    "schedule": "string",
    "state": "string",
    "feasible": "bool",
    "number": "int64",
    "value": "float64",
}


def runs_frame(records: Sequence[Record]) -> pd.DataFrame:
    """Return one row per run: what it is, how it ended, its last metrics, its settings as ``settings.*`` columns.

    Metrics are float64, in the order of the table of metrics: ``watch/robust`` is of the last report, ``robust`` of the
    end, which only complete runs have. A column of a setting is boolean, Int64, float64 or string, and missing where a
    run lacks the setting; if its values are lists or of several types, they are written as JSON strings. Seconds end in
    ``_s``; compute is in epochs of standard training.
    """
    runs = pd.DataFrame([_columns_of(record) for record in records], columns=list(_RUN_COLUMNS))
    measured = dict.fromkeys(name for record in records for name in record.metrics if name != TIME)
    known = [name for name in all_metrics() if name in measured]
    columns_of_metrics = list(dict.fromkeys([*known, *measured]))
    metrics = pd.DataFrame([record.metrics for record in records], columns=columns_of_metrics, dtype=float)
    settings = [{f"settings.{name}": value for name, value in _flat(record.run.settings)} for record in records]
    names = dict.fromkeys(name for row in settings for name in row)
    columns = {name: _typed([row.get(name) for row in settings]) for name in names}
    reason = pd.Series([record.reason for record in records], name="reason", dtype="string")
    return pd.concat([runs.astype(_RUN_COLUMNS), metrics, reason, pd.DataFrame(columns)], axis=1)


def _columns_of(record: Record) -> dict[str, Any]:
    run = record.run
    ratio = run.settings.get("ratio")
    return {
        "run": run.key,
        "kind": run.kind,
        "number": run.number,
        "trainable": run.settings["trainable"],
        "schedule": describe_ratio(ratio) if ratio else None,
        "state": "damaged" if record.is_damaged else record.state,
        "feasible": record.feasible,
        "value": record.value,
    }


def _flat(settings: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    flat: list[tuple[str, Any]] = []
    for name, value in settings.items():
        flat += _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else [(prefix + name, value)]
    return flat


def _typed(values: list[Any]) -> pd.Series[Any]:
    kinds = {type(value) for value in values if value is not None}
    for types, dtype in (({bool}, "boolean"), ({int}, "Int64"), ({int, float}, "float64"), ({str}, "string")):
        if kinds <= types:
            return pd.Series(values, dtype=dtype)
    return pd.Series([None if value is None else json.dumps(value) for value in values], dtype="string")


def encode_frame(table: pd.DataFrame, output_format: Format) -> bytes:
    """Return a table as the content of a file; JSON is a list of rows."""
    if output_format == "csv":
        return table.to_csv(index=False).encode()
    if output_format == "json":
        rows = [
            {name: None if pd.isna(cell) else cell for name, cell in row.items()} for row in table.to_dict("records")
        ]
        return dump_json(rows).encode() + b"\n"
    content = io.BytesIO()
    table.to_parquet(content, engine="pyarrow", index=False)
    return content.getvalue()


def write_frame(table: pd.DataFrame, output_format: Format, target: Path) -> Path:
    """Write a table into a file, which appears whole, and return its path.

    Raises:
        UserError: it cannot be written.
    """
    try:
        write_whole(target, encode_frame(table, output_format))
    except OSError as error:
        raise UserError(f"cannot write {target}: {error}") from error
    return target
