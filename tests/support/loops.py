"""For tests of training loops: train to the end, and compare states."""

import torch


def finish(loop):
    """Return the metrics of all reports that are left."""
    reports = []
    while not loop.done:
        reports.append(loop.step())
    return reports


def without_seconds(reports):
    return [{name: value for name, value in report.items() if not name.endswith("_s")} for report in reports]


def tensors_of(value):
    """Return all tensors of a nested state, in order."""
    if isinstance(value, torch.Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [tensor for part in parts for tensor in tensors_of(part)]


def leaves_of(value, path=""):
    """Return what a nested state holds, by path, without the seconds."""
    if not isinstance(value, dict | list | tuple):
        return {} if path.endswith("_s") else {path: value}
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return {name: leaf for key, item in items for name, leaf in leaves_of(item, f"{path}/{key}").items()}


def is_same_state(loop, other):
    ours, theirs = leaves_of(loop.state()), leaves_of(other.state())
    return list(ours) == list(theirs) and all(
        torch.equal(leaf, theirs[path]) if isinstance(leaf, torch.Tensor) else leaf == theirs[path]
        for path, leaf in ours.items()
    )


def copy_of(model):
    return [parameter.detach().clone() for parameter in model.parameters()]


def is_unchanged(model, copies):
    return all(torch.equal(parameter, copy) for parameter, copy in zip(model.parameters(), copies, strict=True))
