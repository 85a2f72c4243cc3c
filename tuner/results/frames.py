"""A sweep's runs as a pandas table of typed, flat columns, and as a file in CSV, JSON or Parquet."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from trainables.common.valid_json import dump_json
from trainables.errors import printable
from trainables.evaluation.metrics import TIME, all_metrics
from trainables.storage.atomic import reason_of, write_whole
from tuner.errors import UserError
from tuner.sweep.runs import Record, describe_ratio

if TYPE_CHECKING:
    import pandas as pd

    from search_spaces.schema import Space

Format = Literal["csv", "json", "parquet"]
SETTINGS = "settings."
"""What the keys of settings begin with, among the values of a run."""
RUN_COLUMNS = {  # of every table of runs, whatever they have measured
    "run": "string",
    "kind": "string",
    "trainable": "string",
    "schedule": "string",
    "state": "string",
    "feasible": "bool",
    "number": "int64",
    "value": "float64",
}
_DTYPES = {**RUN_COLUMNS, "reason": "string"}


def runs_frame(records: Sequence[Record]) -> pd.DataFrame:
    """Return one row per run: what it is, how it ended, its last metrics, its settings as ``settings.*`` columns.

    Metrics are float64, in the order of the table of metrics: ``watch/robust`` is of the last report, ``robust`` of the
    end, which only complete runs have. A column of a setting is boolean, Int64, float64 or string, and missing where a
    run lacks the setting; if its values are lists or of several types, they are written as JSON strings. Seconds end in
    ``_s``; compute is in epochs of standard training.
    """
    return frame_of([run_values(record) for record in records], list(RUN_COLUMNS))


def trials_frame(records: Sequence[Record], space: Space) -> pd.DataFrame:
    """Return the table of `runs_frame` with what matters first: trials before baselines, objectives, what varied.

    Args:
        records: of the runs.
        space: of their sweep.
    """
    ordered = sorted(records, key=lambda record: record.run.kind == "baseline")
    table = runs_frame(ordered)
    objectives = [objective.metric for objective in space.objectives if objective.metric in table]
    settings = dict.fromkeys(SETTINGS + ".".join(one.setting) for one in space.parameters if one.varies)
    columns = [str(column) for column in table]
    varied = [column for column in columns for name in settings if column == name or column.startswith(f"{name}.")]
    first = ["run", "kind", "state", *objectives, *varied]
    return table[[*dict.fromkeys(first), *(column for column in columns if column not in first)]]


def curves_frame(rows: Mapping[str, Sequence[Mapping[str, float]]]) -> pd.DataFrame:
    """Return a row for every report of every run: the run's key, the step, the compute so far, and what was measured.

    Args:
        rows: the reports of each run by its key.
    """
    reports = [{"run": key, **report} for key, reports in rows.items() for report in reports]
    table = frame_of(reports, ["run", "step", "compute"])
    return table.astype({"run": "string", "step": "int64", "compute": "float64"})


def frame_of(rows: Sequence[Mapping[str, object]], first: Sequence[str] = ()) -> pd.DataFrame:
    """Return rows of values as a table of typed columns: see `runs_frame`.

    Args:
        rows: values by key; what a row lacks is missing there.
        first: keys whose columns come first, and are there without any row.
    """
    import pandas as pd

    keys = dict.fromkeys([*first, *(key for row in rows for key in row)])
    places = {name: place for place, name in enumerate(all_metrics())}

    def place_of(key: str) -> tuple[bool, bool, bool, int]:
        place = -1 if key in first else places.get(key, len(places))
        return key not in first, key.startswith(SETTINGS), key == "reason", place

    ordered = sorted(keys, key=place_of)
    return pd.DataFrame({key: _column(key, [row.get(key) for row in rows]) for key in ordered})


def run_values(record: Record) -> dict[str, object]:
    """Return what a table has of a run, by key: what it is, how it ended, its last metrics, its settings."""
    run = record.run
    ratio = run.settings.get("ratio")
    metrics = {name: value for name, value in record.metrics.items() if name != TIME}
    return {
        "run": run.key,
        "kind": run.kind,
        "trainable": run.settings["trainable"],
        "schedule": describe_ratio(ratio) if ratio else None,
        "state": "damaged" if record.is_damaged else record.state,
        "feasible": record.feasible,
        "number": run.number,
        "value": record.value,
        **metrics,
        "reason": record.reason,
        **{SETTINGS + name: value for name, value in _flat(run.settings)},
    }


def _flat(settings: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    flat: list[tuple[str, Any]] = []
    for name, value in settings.items():
        flat += _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else [(prefix + name, value)]
    return flat


def _column(key: str, values: list[Any]) -> pd.Series[Any]:
    import pandas as pd

    dtype = _DTYPES.get(key) or ("float64" if key in all_metrics() else None)
    return pd.Series(values, dtype=dtype) if dtype else _typed(values)


def _typed(values: list[Any]) -> pd.Series[Any]:
    import pandas as pd

    kinds = {type(value) for value in values if value is not None}
    for types, dtype in (({bool}, "boolean"), ({int}, "Int64"), ({int, float}, "float64"), ({str}, "string")):
        if kinds <= types:
            return pd.Series(values, dtype=dtype)
    return pd.Series([None if value is None else json.dumps(value) for value in values], dtype="string")


def plain_rows(table: pd.DataFrame) -> list[dict[str, object]]:
    """Return the rows of a table as JSON has them: None where there is no value."""
    import pandas as pd

    return [
        {str(name): None if pd.isna(cell) else cell for name, cell in row.items()} for row in table.to_dict("records")
    ]


def encode_frame(table: pd.DataFrame, output_format: Format) -> bytes:
    """Return a table as the content of a file; JSON is a list of rows."""
    if output_format == "csv":
        lines = table.to_csv(index=False).split("\n")  # what a run raised may have codes that a terminal would act on
        return "\n".join(line if line.isprintable() else printable(line) for line in lines).encode()
    if output_format == "json":
        return dump_json(plain_rows(table)).encode() + b"\n"
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
        raise UserError(f"cannot write {target}: {reason_of(error)}") from error
    return target
