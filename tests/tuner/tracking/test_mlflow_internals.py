"""The undocumented names of MLflow are used in few modules; tests/integration/test_ui.py shows what they do."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
PRIVATE = re.compile(r"from mlflow\.(?:server|utils|store)\b|\bmlflow(?:\.\w+)*\._[a-z]\w*|_MLFLOW_\w+")


def test_no_other_module_uses_an_undocumented_name_of_mlflow():
    using = {path.stem for path in (ROOT / "tuner").rglob("*.py") if PRIVATE.search(path.read_text())}
    assert using == {"mlflow_internals", "confined_artifacts", "artifacts"}
