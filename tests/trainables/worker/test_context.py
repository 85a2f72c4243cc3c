"""What a driver tells a worker survives the way as plain data."""

from __future__ import annotations

import json

import pytest

from trainables.worker.context import RunTask, WorkerContext


@pytest.mark.parametrize(
    "context",
    [
        WorkerContext(),
        WorkerContext(data="/data"),
        WorkerContext(
            shared_data="s3://b/.data", probe_place="s3://b/a", probe=".mark-1", store_url="s3://b", store_root="/x"
        ),
    ],
)
def test_a_task_is_the_same_after_its_way_as_plain_data(context):
    task = RunTask("trial-0001", "/x/a/trials/0001", {"trainable": "standard", "classifier": {"width": 4}}, context)
    assert RunTask.from_config(json.loads(json.dumps(task.to_config()))) == task
