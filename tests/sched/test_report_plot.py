"""The plot of a report shows every layer that takes time, and says when there is none."""

from __future__ import annotations

import pytest

from mensa.sched import api, digits
from mensa.sched.cli.main import invoke
from mensa.sched.plots import PlotError
from mensa.sched.report_plot import plot_report

MODEL = str(digits.DATA / "digits.tflite")


def test_the_plot_names_every_layer_category_and_component(tmp_path):
    assert invoke(["run", MODEL, "--plot", str(tmp_path / "run.svg")]) == 0
    text = (tmp_path / "run.svg").read_text()
    report = api.time(api.load(MODEL), api.system())
    for layer in report.layers:
        assert (f"{layer.index} {layer.op}" in text) == bool(layer.cycles)
    for name in ("compute", "fill drain", "activation buffer", "static"):
        assert f"<!-- {name} -->" in text


def test_a_plot_of_nothing_is_refused(tmp_path):
    report = api.run(
        api.load(MODEL),
        api.system(),
        [[image[None]] for image in digits.load_samples().take(1)],
        engine="functional",
    ).report
    with pytest.raises(PlotError, match="nothing to plot"):
        plot_report(report, tmp_path / "run.png")
    assert not list(tmp_path.iterdir())
