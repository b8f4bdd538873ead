"""`mensa inspect`: a network's layers, and where each would run."""

from __future__ import annotations

from mensa.sched.cli.networks import check_outputs, load_network, notes, tell_notes
from mensa.sched.cli.options import (
    JsonOption,
    MachineOption,
    MachineSetOption,
    ModelArgument,
    RoundingOption,
)


def inspect(
    model: ModelArgument,
    machine: MachineOption = None,
    settings: MachineSetOption = None,
    rounding: RoundingOption = None,
    json_file: JsonOption = None,
) -> None:
    """Show a network's layers, and which the accelerators do not take and why; with a machine also
    those that this one has no room for.

    Example: mensa inspect net.tflite
    """
    from mensa.sched import inspection
    from mensa.sched.cli import table
    from mensa.sched.cli.settings import choose_machine, says_cell
    from mensa.sched.files import write_json
    from mensa.sched.placement.cell import with_cell_for

    check_outputs({"--json": json_file}, model)
    graph = load_network(model, rounding, check=False)
    chosen = None
    if machine is not None or settings:
        chosen = choose_machine(machine, settings or [])
        if not says_cell(settings or []):
            chosen = with_cell_for(chosen, graph, rounding)
    layers = inspection.inspect(graph, rounding, chosen)
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
