"""What of a file is not run: signatures and subgraphs beside the first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mensa.golden.tflite.flatbuffer import Table

# Places in the schema.
_SUBGRAPHS, _SIGNATURES = 2, 7
_OPTIONS, _OPTIONS_2 = 4, 12

# By operator, which of its tables of options names subgraphs, and in which slots.
_CALLS: dict[str, tuple[int, tuple[int, ...]]] = {
    "CALL": (_OPTIONS, (0,)),
    "CALL_ONCE": (_OPTIONS, (0,)),
    "IF": (_OPTIONS, (0, 1)),
    "STABLEHLO_COMPOSITE": (_OPTIONS_2, (1,)),
    "STABLEHLO_REDUCE": (_OPTIONS_2, (1,)),
    "STABLEHLO_REDUCE_WINDOW": (_OPTIONS_2, (5,)),
    "STABLEHLO_SCATTER": (_OPTIONS_2, (6,)),
    "STABLEHLO_SORT": (_OPTIONS_2, (2,)),
    "STABLEHLO_WHILE": (_OPTIONS_2, (0, 1)),
    "WHILE": (_OPTIONS, (0, 1)),
}


def passed_over(model: Table, ops: Sequence[str]) -> tuple[str, ...]:
    """Sentences about the signatures and subgraphs that running the first subgraph leaves out.

    Parameters: the file's root table, and the names of its list of operators.
    """
    subgraphs = model.tables(_SUBGRAPHS)
    if len(subgraphs) == 1:
        return ()
    called = _called(subgraphs, ops)
    entries = (
        (signature.text(2), int(signature.number(4, "<I", 0)))
        for signature in model.tables(_SIGNATURES)
    )
    # One subgraph may have several.
    signatures = [(name, number) for name, number in entries if number not in called]
    named = {number for _, number in signatures}
    left = [number for number in range(len(subgraphs)) if number not in called | named]
    notes = []
    if signatures:
        names = ", ".join(f"{name!r} (subgraph {number})" for name, number in signatures)
        notes.append(f"passed over, because the first subgraph is run: signature {names}")
    if left:
        names = ", ".join(f"{number} {subgraphs[number].text(4)!r}" for number in left)
        notes.append(f"passed over, because the first subgraph does not call it: subgraph {names}")
    return tuple(notes)


def _called(subgraphs: Sequence[Table], ops: Sequence[str]) -> set[int]:
    """The first subgraph and all that it calls, directly or not."""
    found, left = {0}, [0]
    while left:
        for number in _calls(subgraphs[left.pop()], ops):
            if 0 <= number < len(subgraphs) and number not in found:
                found.add(number)
                left.append(number)
    return found


def _calls(subgraph: Table, ops: Sequence[str]) -> Iterator[int]:
    for operator in subgraph.tables(3):
        code = int(operator.number(0, "<I", 0))
        where, slots = _CALLS.get(ops[code] if code < len(ops) else "", (_OPTIONS, ()))
        options = operator.table(where) if slots else None
        if options is not None:
            yield from (int(options.number(slot, "<i", 0)) for slot in slots)
