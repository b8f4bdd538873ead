"""The page of the documentation that says which operators were compared with which oracle.

scripts/operator_table.py runs the tests and keeps what they counted in operator_record.json.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from mensa.golden.int4 import TAKEN
from tests.golden.comparison import DIFFERENCES, INPUTS
from tests.golden.refused_scales import REFUSED

RECORD = Path(__file__).parent / "operator_record.json"
PAGE = Path(__file__).parents[2] / "docs" / "operators.md"
COMMAND = "python scripts/operator_table.py"
ORACLES = {"tflm": "TFLM", "litert": "LiteRT"}

INTRODUCTION = """\
# Operators

Every operator that golden computes, and the two oracles that its outputs are compared with:
TensorFlow Lite Micro (`rounding="tflm"`; {tflm}) and LiteRT's reference
kernels (`rounding="litert"`; `BUILTIN_REF` of {litert}). This page is made by
`{command}` from the report of the tests that compare.

A case is a network of one operator, its shapes, parameters, scales, zero points and options drawn
at random, which golden writes as a .tflite file; the oracle and golden run it on {inputs} inputs
in a row, with the state carried from one to the next. The numbers under TFLM and LiteRT are cases
in which **every bit of every output was equal**. There were no others: a difference fails the
tests. The last column says on how many of the files that both oracles can run the outputs of these
two differ. Where there is no number, nothing was compared.

| operator | activations | TFLM | LiteRT | the two differ |
|---|---|--:|--:|--:|
"""

UNDEFINED = """
## What C++ leaves open

Scales may be so far apart that a kernel shifts by more bits than a number has, or casts a float
that no integer holds. C++ does not say what becomes of that. Both oracles are built for x86-64, and
golden gives what their builds give: a shift counts modulo 32, or modulo 64 where the number has 64
bits, and a cast to int32 gives -2147483648. Tests compare layers whose scales were moved by up to
110 powers of two. Some layers golden refuses for their scales although an oracle runs them:

| operator | refused are layers | because |
|---|---|---|
"""

INT4 = """
## Weights of int4

Of three operators the weights may be of int4, two to a byte of the file; some of their layers above
have such. LiteRT's DEQUANTIZE takes a constant of int4, too. The last two columns say by which
activations each oracle takes them, and so does golden. TFLM wants one scale for all weights of a
FULLY_CONNECTED.

Golden refuses int4 everywhere else: most of the oracles' other kernels refuse it, too, and some
take its bytes for elements.

| operator | what may be int4 | TFLM | LiteRT |
|---|---|---|---|
"""

DIFFER = """
## Where the oracles differ

`rounding` chooses which of them golden equals. Scales drawn at random seldom show that multipliers
differ in their last bits; chosen ones, whose products are almost powers of two, make sums fall in
the middle between two outputs, and do.

| operator | random scales | chosen scales | cause |
|---|--:|--:|---|
"""

MISSING = """
## Compared with one oracle only

| operator | not compared with | because |
|---|---|---|
"""


def gather(reports, versions):
    """The record of what the tests reported, a list of dicts; `versions` of the oracles."""
    operators = {}
    for report in reports:
        entry = operators.setdefault(
            report["op"], {"tflm": {}, "litert": {}, "shared": {}, "differing": {}, "ties": [0, 0]}
        )
        if "reason" in report:
            entry[report["oracle"]] = report["reason"]
        elif report["ties"]:
            entry["ties"][0] += sum(report["differing"].values())
            entry["ties"][1] += sum(report["shared"].values())
        else:
            entry[report["oracle"]] = report["cases"]
            for name in ("shared", "differing"):
                entry[name] = dict(Counter(entry[name]) + Counter(report[name]))
    return {"oracles": versions, "inputs": INPUTS, "operators": operators}


def page(record):
    """The page, as Markdown."""
    operators = sorted(record["operators"].items())
    text = INTRODUCTION.format(command=COMMAND, inputs=record["inputs"], **record["oracles"])
    for op, entry in operators:
        for number, kind in enumerate(_types(entry)):
            cases = [_cases(entry[oracle], kind) for oracle in ORACLES]
            differ = _share(entry["differing"].get(kind, 0), entry["shared"].get(kind, 0))
            text += _row(f"`{op}`" if number == 0 else "", kind, *cases, differ)
    text += INT4
    for op, (position, types) in sorted(TAKEN.items()):
        kinds = [", ".join(types.get(oracle, ())) for oracle in ORACLES]
        text += _row(f"`{op}`", "weights" if position else "a constant input", *kinds)
    text += DIFFER
    for op, entry in operators:
        if op in DIFFERENCES:
            random = _share(sum(entry["differing"].values()), sum(entry["shared"].values()))
            text += _row(f"`{op}`", random, _share(*entry["ties"]), DIFFERENCES[op])
    text += UNDEFINED
    for op, refused in sorted(REFUSED.items()):
        text += _row(f"`{op}`", refused.layers, refused.because)
    text += MISSING
    for op, entry in operators:
        for oracle, name in ORACLES.items():
            if isinstance(entry[oracle], str):
                text += _row(f"`{op}`", name, entry[oracle])
    return text


def _types(entry):
    """Types of an operator's activations, the narrow ones first, integers before floats."""
    kinds = {
        kind for oracle in ORACLES if isinstance(entry[oracle], dict) for kind in entry[oracle]
    }
    return sorted(kinds, key=lambda kind: (kind.startswith("float"), len(kind), kind))


def _cases(entry, kind):
    return f"{entry[kind]:,}" if isinstance(entry, dict) and kind in entry else ""


def _share(some, of_all):
    return f"{some:,} of {of_all:,}" if of_all else ""


def _row(*cells):
    return f"| {' | '.join(cells)} |\n"
