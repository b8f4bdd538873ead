"""`mensa golden`: a network computed bit-exact, with what every operator takes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mensa.sched.cli.networks import check_outputs, load_network, notes, tell_notes
from mensa.sched.cli.options import (
    InputOption,
    JsonOption,
    ModelArgument,
    RoundingOption,
    SeedOption,
)

if TYPE_CHECKING:
    from mensa.golden import Graph, Tensor, Tensors
    from mensa.sched.profile import OperatorTime

TOP_OUTPUTS = 5


def golden(
    model: ModelArgument,
    source: InputOption = None,
    seed: SeedOption = 0,
    rounding: RoundingOption = None,
    save_tensors: Annotated[
        Path | None,
        typer.Option(
            "--save-tensors",
            metavar="FILE.npz",
            help="Write every tensor there, inputs included, named by tensor index.",
        ),
    ] = None,
    json_file: JsonOption = None,
) -> None:
    """Compute a network with the golden model, bit-exact with TensorFlow Lite.

    Example: mensa golden net.tflite --input image.npy --save-tensors tensors.npz
    """
    from mensa import golden as reference
    from mensa.golden.error import printable
    from mensa.sched import profile
    from mensa.sched.cli import table
    from mensa.sched.cli.progress import ProgressBar
    from mensa.sched.inputs import blaming, make_inputs

    check_outputs({"--json": json_file, "--save-tensors": save_tensors}, model, source)
    graph = load_network(model, rounding)
    source = source or "random"
    inputs = make_inputs(graph, source, seed, rounding)
    with blaming(source), ProgressBar() as progress:
        progress(0, 2, "computing")
        tensors = reference.run(graph, inputs, keep="all", rounding=rounding)
        progress(1, 2, "timing every operator")
        times = profile.operator_times(graph, tensors, rounding)
    if save_tensors is not None:
        _save(save_tensors, tensors)
    if json_file is not None:
        _write(json_file, graph, tensors, times)
    out = table.console()
    out.print(printable(f"{graph.name}, {tensors.rounding} rounding"), soft_wrap=True)
    out.print(profile.table(times))
    for index in graph.outputs:
        for line in _largest(graph.tensors[index], tensors[index]):
            out.print(line, soft_wrap=True)
    tell_notes(graph)


def _save(path: Path, tensors: Tensors) -> None:
    import numpy as np

    from mensa.sched.files import new_file

    with new_file(path) as temporary, temporary.open("wb") as file:
        named: dict[str, Any] = {str(index): array for index, array in tensors.items()}
        np.savez(file, **named)


def _write(path: Path, graph: Graph, tensors: Tensors, times: list[OperatorTime]) -> None:
    from mensa.sched.files import write_json

    outputs = [
        {"index": index, "name": graph.tensors[index].name, "values": tensors[index].tolist()}
        for index in graph.outputs
    ]
    answer = {
        "model": graph.name,
        "rounding": tensors.rounding,
        "operators": [each.to_json() for each in times],
        "outputs": outputs,
        **notes(graph),
    }
    write_json(path, answer)


def _largest(tensor: Tensor, array: Any) -> Iterator[str]:
    """Lines about an output: its largest elements, and the real numbers that they stand for."""
    import numpy as np

    yield f"{tensor}: {array.dtype} {list(array.shape)}"
    best = np.argsort(-array.ravel().astype(np.float64), kind="stable")[:TOP_OUTPUTS]
    for place in best.tolist():
        value = array.ravel()[place].item()
        real = ""
        if tensor.scale.size == 1:
            zero_point = int(tensor.zero_point[0])
            real = f"  {(value - zero_point) * float(tensor.scale[0]):.6g}"
        yield f"  [{place}] {value}{real}"
