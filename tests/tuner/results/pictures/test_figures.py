"""What is drawn: panels, lines, arrays and texts of each figure, and that nothing is cut off."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from trainables.common.process_state import python_environment
from trainables.judging.examples import ClassifiedImages, Examples
from tuner.results.pictures import figures as pictures
from tuner.statistics import interval

ROWS = [
    {
        "watch/clean": 0.9 + 0.01 * step,
        "watch/fgsm": 0.5,
        "watch/pgd": 0.3,
        "watch/robust": 0.1 * step,
        "classifier_loss": 1 / step,
        "generator_loss": 0.5 + 0.1 * step,
        "ratio": float(step),
        "step": step,
        "compute": 0.5 * step,
    }
    for step in (1, 2, 3)
]
ENDED = [*ROWS[:2], {**ROWS[2], "clean": 0.9, "fgsm": 0.4, "pgd": 0.2, "robust": 0.1}]
STARS = "at the end, by stronger attacks"


# The first is, as a notebook's `inline` would be without matplotlib-inline, the name of no backend that is installed.
@pytest.mark.parametrize(("backend", "is_valid"), [("nothing", False), ("module://nothing.here", True), ("svg", True)])
def test_the_backend_of_a_notebook_is_not_needed_and_stays_chosen(backend, is_valid):
    script = """import os, tuner.results.pictures.figures, matplotlib
print(os.environ["MPLBACKEND"], matplotlib.rcParams._get("backend"), sep="\\n")"""
    environment = {**python_environment(), "MPLBACKEND": backend}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    variable, chosen = done.stdout.splitlines()
    assert variable == backend
    assert (chosen == backend) == is_valid


def lines(axes):
    return {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axes.get_lines()}


def is_whole(figure: Figure) -> bool:
    """Whether everything that is drawn lies on the figure (within a hundredth of an inch)."""
    figure.canvas.draw()
    box = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    return box.x0 > -0.01 and box.y0 > -0.01 and box.x1 < width + 0.01 and box.y1 < height + 0.01


class TestTraining:
    def test_a_generators_run_has_accuracies_losses_and_the_ratio(self):
        figure = pictures.training("a title", ROWS, "cross_entropy")
        accuracies, losses, ratio = figure.axes
        assert figure.get_suptitle() == "a title"
        assert lines(accuracies)["clean"] == ([0.5, 1.0, 1.5], [pytest.approx(100 * r["watch/clean"]) for r in ROWS])
        assert list(lines(accuracies)) == ["clean", "FGSM", "PGD", "robust (worst of all attacks)"]
        assert lines(accuracies)["robust (worst of all attacks)"][1] == pytest.approx([10, 20, 30])
        assert lines(losses)["classifier"] == ([0.5, 1.0, 1.5], [1, 1 / 2, 1 / 3])
        assert lines(losses)["generator: cross entropy"][1] == pytest.approx([0.6, 0.7, 0.8])
        assert [list(y) for _, y in lines(ratio).values()] == [[1.0, 2.0, 3.0]]
        assert ratio.get_ylim()[0] == 0 < 3 < ratio.get_ylim()[1]
        assert (accuracies.get_ylabel(), ratio.get_ylabel()) == ("accuracy (%)", "generator turns per classifier turn")

    def test_what_was_measured_at_the_end_is_a_star_beside_the_line(self):
        accuracies = pictures.training("a title", ENDED, None).axes[0]
        stars = [line for line in accuracies.get_lines() if line.get_marker() == "*" and len(line.get_xdata())]
        assert [(list(star.get_xdata()), list(star.get_ydata())) for star in stars] == [
            ([1.5], [pytest.approx(value)]) for value in (90, 40, 20, 10)
        ]
        assert lines(accuracies)["robust (worst of all attacks)"][1] == pytest.approx([10, 20, 30])
        assert [text.get_text() for text in accuracies.get_legend().get_texts()][-1] == STARS

    @pytest.mark.parametrize(
        ("cycles", "label", "along"),
        [((4, 9, 16), "cycle", [4, 9, 16]), ((None, 9, 16), "compute (standard epochs)", [0.5, 1.0, 1.5])],
    )
    def test_by_cycle_where_every_report_has_one_else_by_compute(self, cycles, label, along):
        rows = [{**r, **({"cycle": c} if c else {})} for r, c in zip(ROWS, cycles, strict=True)]
        for axes in pictures.training("", rows, "wrongness").axes:
            assert axes.get_xlabel() == label
            assert all(x == along for x, _ in lines(axes).values())

    def test_a_run_without_a_generator_has_neither_its_loss_nor_a_ratio(self):
        rows = [{name: r[name] for name in r if name not in ("generator_loss", "ratio")} for r in ROWS]
        figure = pictures.training("", rows, None)
        assert len(figure.axes) == 2
        assert list(lines(figure.axes[1])) == ["classifier"]

    def test_reports_without_a_value_are_left_out(self):
        rows = [{name: value for name, value in ROWS[0].items() if name not in ("ratio", "generator_loss")}, *ROWS[1:]]
        _, losses, ratio = pictures.training("", rows, "wrongness").axes
        assert lines(losses)["generator: wrongness"][0] == [1.0, 1.5]
        assert lines(losses)["classifier"][0] == [0.5, 1.0, 1.5]
        assert [x for x, _ in lines(ratio).values()] == [[1.0, 1.5]]


CURVES = {"best trial: gan 1:1": {0.0: 1.0, 0.1: 0.5, 0.2: 0.0}, "standard": {0.0: 0.9, 0.1: 0.0}}


class TestByEpsilon:
    def test_a_line_for_each_run_with_its_interval_and_the_evaluation_marked(self):
        figure = pictures.by_epsilon("a title", CURVES, 0.15, 500)
        (axes,) = figure.axes
        drawn = lines(axes)
        assert drawn["best trial: gan 1:1"] == ([0.0, 0.1, 0.2], [100, 50, 0])
        assert drawn["standard"] == ([0.0, 0.1], [90, 0])
        assert drawn["epsilon of the evaluation: 0.15"][0] == [0.15, 0.15]
        band = axes.collections[0].get_paths()[0].vertices
        low, high = interval(0.5, 500)
        assert {round(y, 6) for x, y in band if x == 0.1} == {round(100 * low, 6), round(100 * high, 6)}
        assert [text.get_text() for text in figure.legends[0].get_texts()] == list(drawn)
        assert "epsilon" in axes.get_xlabel()

    def test_lines_are_told_apart_by_colour_and_by_marker(self):
        names = [f"run {number}" for number in range(6)]
        figure = pictures.by_epsilon("", {name: {0.0: 1.0} for name in names}, 0.3, 100)
        named = [line for line in figure.axes[0].get_lines() if line.get_label() in names]
        assert len({line.get_color() for line in named}) == len({line.get_marker() for line in named}) == 6


class TestComparison:
    def test_named_runs_stand_out_from_the_others(self):
        figure = pictures.comparison("a title", {"best": ROWS, "standard": ROWS[:2]}, [ROWS[:1], ROWS])
        assert [axes.get_title() for axes in figure.axes] == ["clean", "FGSM", "robust (worst of all attacks)"]
        for axes in figure.axes:
            assert len(axes.get_lines()) == 4
            assert [line.get_color() for line in axes.get_lines()[:2]] == ["0.75", "0.75"]
        assert lines(figure.axes[2])["standard"] == ([0.5, 1.0], pytest.approx([10, 20]))
        assert [text.get_text() for text in figure.legends[0].get_texts()] == ["best", "standard"]

    def test_what_was_measured_at_the_end_is_a_star_beside_the_line(self):
        figure = pictures.comparison("a title", {"best": ENDED, "standard": ROWS[:2]}, [ENDED])
        for axes, ended in zip(figure.axes, (90, 40, 10), strict=True):
            stars = [line for line in axes.get_lines() if line.get_marker() == "*" and len(line.get_xdata())]
            assert [(list(star.get_xdata()), list(star.get_ydata())) for star in stars] == [([1.5], [ended])] * 2
        assert [text.get_text() for text in figure.legends[0].get_texts()] == ["best", "standard", STARS]


def view(bound: float, shift: float, predicted: list[int]) -> ClassifiedImages:
    images = np.full((3, 28, 28), 0.25, np.float32) + np.float32(shift)
    return ClassifiedImages(images, predicted, [0.5, 0.987, 1.0], bound)


class TestExamples:
    @pytest.fixture
    def seen(self):
        attacks = {"FGSM": view(0.3, 0.3, [1, 4, 7]), "generator": view(0.35, -0.2, [0, 0, 0])}
        return Examples([1, 4, 7], view(0, 0, [1, 4, 2]), attacks, {0.0: 1.0}, 500)

    def test_each_image_and_each_perturbation_is_shown(self, seen):
        figure = pictures.examples("a title", seen)
        fgsm, generated = seen.perturbed.values()
        clean = seen.clean.images
        rows = [clean, fgsm.images - clean, fgsm.images, generated.images - clean, generated.images]
        shown = figure.axes[0].images
        for drawn, image in zip(shown, np.concatenate(rows), strict=True):
            assert np.array_equal(drawn.get_array(), image)
        lefts, rights, bottoms, tops = zip(*(drawn.get_extent() for drawn in shown), strict=True)
        assert len(set(zip(lefts, tops, strict=True))) == 5 * 3
        assert lefts[:3] == lefts[12:] == tuple(sorted(lefts[:3]))
        assert rights[0] < lefts[1]
        assert all(bottom < top for bottom, top in zip(bottoms[::3], tops[3::3], strict=False))
        named = [text.get_text() for text in figure.axes[0].texts if text.get_ha() == "right"]
        assert named == [
            "clean",
            "FGSM\nperturbation",
            "FGSM\nwithin 0.3",
            "generator\nperturbation",
            "generator\nwithin 0.35",
        ]
        assert figure.get_suptitle() == "a title"

    def test_images_share_one_scale_and_perturbations_another(self, seen):
        limits = [drawn.get_clim() for drawn in pictures.examples("", seen).axes[0].images]
        assert limits[:3] == limits[6:9] == limits[12:] == [(0, 1)] * 3
        assert limits[3:6] == limits[9:12] == [(-0.35, 0.35)] * 3

    def test_right_and_wrong_differ_in_colour_and_in_text(self, seen):
        canvas = pictures.examples("", seen).axes[0]
        said = [(text.get_text(), text.get_color()) for text in canvas.texts if text.get_ha() == "center"]
        right, wrong = pictures.RIGHT, pictures.WRONG
        assert said[:3] == [("✓ 1  50 %", right), ("✓ 4  99 %", right), ("✗ 2  100 %", wrong)]
        assert [colour for _, colour in said[3:]] == [right] * 3 + [wrong] * 3
        frames = [to_hex(patch.get_edgecolor()).upper() for patch in canvas.patches]
        black = ["#000000"] * 3
        assert frames == [right, right, wrong, *black, *[right] * 3, *black, *[wrong] * 3]

    @pytest.mark.parametrize(("classes", "size"), [((), 11), (("hummingbirds", "cat") * 4, 7)])
    def test_names_are_of_one_size_and_do_not_run_into_each_other(self, seen, classes, size):
        seen = replace(seen, classes=classes)
        figure = pictures.examples("", seen)
        figure.draw_without_rendering()
        below = [text for text in figure.axes[0].texts if text.get_ha() == "center"]
        assert {text.get_fontsize() for text in below} == {size}
        boxes = [text.get_window_extent() for text in below]
        assert all(left.x1 < right.x0 for left, right in pairwise(boxes[:3]))

    def test_without_a_generator_there_are_three_rows(self, seen):
        del seen.perturbed["generator"]
        assert len(pictures.examples("", seen).axes[0].images) == 3 * 3


class TestSuccess:
    def test_every_rate_that_rounds_to_a_percent_is_told(self):
        rates = np.zeros((10, 10), np.float32)
        rates[4, 9], rates[4, 4], rates[3, 3], rates[3, 5] = 0.75, 0.25, 0.996, 0.004
        axes = pictures.success("a title", rates).axes[0]
        said = {(int(text.get_position()[1]), int(text.get_position()[0])): text.get_text() for text in axes.texts}
        assert said == {(4, 9): "75", (4, 4): "25", (3, 3): "100"}
        assert np.allclose(axes.images[0].get_array(), 100 * rates)
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("label that the classifier gives", "true class")


def test_nothing_is_cut_off():
    title = f"{'a' * 63} trial-0000 (gan 6-8-12:1)\nfashion_mnist, epsilon 0.3, 500 validation images, 1000 at the end"
    ten = ClassifiedImages(np.zeros((10, 28, 28), np.float32), [3] * 10, [1.0] * 10, 0.3)
    seen = Examples(list(range(10)), ten, {"FGSM": ten, "generator": ten}, {}, 500)
    assert is_whole(pictures.training(title, ROWS, "cross_entropy"))
    trials, baselines = ("trial-0005: gan 6-8-12:1", "best trial: gan 6-8-12:1"), ("fgsm_random_start", "trades", "pgd")
    curves = {name: {0.0: 1.0, 0.05: 0.0} for name in (*trials, *baselines)}
    assert is_whole(pictures.by_epsilon("a" * 63 + "\nfashion_mnist", curves, 1.0, 500))
    assert is_whole(pictures.comparison(title, dict.fromkeys((*trials, *baselines), ROWS), []))
    assert is_whole(pictures.examples(title, seen))
    assert is_whole(pictures.success(title, np.full((10, 10), 0.1, np.float32)))
