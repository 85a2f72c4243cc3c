"""What a bundle says of its classifier: its metrics, and where they come from. Reading it needs no study."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, FiniteFloat

from trainables.evaluation.earlier_names import rename_results
from tuner.errors import UserError

FORMAT = 2
"""Of a bundle; those of format 1 have no checksums."""

_MAX_THREADS = 1024


class _Measured(BaseModel):
    """What ``metrics.json`` says."""

    metrics: dict[str, FiniteFloat]
    images: Annotated[int, Field(ge=1)]


class _Origin(BaseModel):
    """What ``provenance.json`` says, as far as it is read."""

    format: int
    num_threads: Annotated[int, Field(ge=1, le=_MAX_THREADS)]
    processor: str = ""
    versions: dict[str, str] = {}
    code: dict[str, object] = {}


@dataclass(frozen=True)
class BundleRecord:
    """What a bundle says of its classifier.

    Attributes:
        metrics: the last ones of its run, by name.
        images: how many validation images they were measured on.
        num_threads: torch's threads in that run.
        processor: model of the machine's processor; empty if it was not recorded.
        torch: release of torch; empty if it was not recorded.
        code: SHA-256 of the code that trained; empty if it was not recorded.
    """

    metrics: dict[str, float]
    images: int
    num_threads: int
    processor: str
    torch: str
    code: str


def read_bundle_record(bundle: Path) -> BundleRecord:
    """Return what a bundle says of its classifier.

    Raises:
        UserError: the folder is no bundle, of a later release, or changed since it was written.
    """
    from trainables.storage.bundle_files import CHECKSUMS, has_checksums, read_bundle_json

    origin = read_bundle_json(bundle, "provenance.json", _Origin.model_validate)
    measured = read_bundle_json(bundle, "metrics.json", _Measured.model_validate)
    if not 1 <= origin.format <= FORMAT:
        raise UserError(f"{bundle} has format {origin.format}; this release reads formats 1 to {FORMAT}")
    if origin.format > 1 and not has_checksums(bundle):
        raise UserError(
            f"{bundle} lacks its file {CHECKSUMS}: it cannot be told whether it was changed; export it again"
        )
    return BundleRecord(
        metrics=rename_results(measured.metrics),
        images=measured.images,
        num_threads=origin.num_threads,
        processor=origin.processor,
        torch=origin.versions.get("torch", ""),
        code=str(origin.code.get("sha256", "")),
    )
