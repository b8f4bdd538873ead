"""`mensa inspect`: a network's layers, and where each would run."""

from __future__ import annotations

from mensa.sched.cli.networks import check_outputs, load_network, notes, tell_notes
from mensa.sched.cli.options import JsonOption, ModelArgument, RoundingOption


def inspect(
    model: ModelArgument, rounding: RoundingOption = None, json_file: JsonOption = None
) -> None:
    """Show a network's layers, and which the accelerator does not take and why.

    Example: mensa inspect net.tflite
    """
    from mensa.sched import inspection
    from mensa.sched.cli import table
    from mensa.sched.files import write_json

    check_outputs({"--json": json_file}, model)
    graph = load_network(model, rounding, check=False)
    layers = inspection.inspect(graph, rounding)
    if json_file is not None:
        answer = {
            "model": graph.name,
            "layers": [layer.to_json() for layer in layers],
            "totals": inspection.total(layers).to_json(),
            **notes(graph),
        }
        write_json(json_file, answer)
    out = table.console()
    out.print(inspection.table(layers))
    for line in inspection.summary(layers):
        out.print(line, soft_wrap=True)
    tell_notes(graph)
