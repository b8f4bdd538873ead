"""Products of two computed tensors: what is the second one's is laid out as parameters first.

BATCH_MATMUL, and convolutions and fully connected layers whose weights are computed. The array
takes parameters from the parameter buffer alone, in words of a byte for each of C columns. So a
copy writes the second tensor to memory as such words, and the layer loads them like any other
parameters, when they are there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mensa.golden import ConvPlan, Plan
from mensa.rtl.commands import Mode
from mensa.rtl.machine import Machine
from mensa.sched.lower.convolution import Convolution, convolution_parts
from mensa.sched.lower.move_blocks import move_blocks
from mensa.sched.lower.moves import words as word_moves
from mensa.sched.lower.work import Block, Home, LayerSite

__all__ = ["ProductsPlan", "WordsPlan", "lower_words", "products_parts"]


@dataclass(frozen=True, kw_only=True, eq=False)
class WordsPlan(Plan):
    """Matrices as parameter words: for each, for every C outputs, a word of them for each input.

    Attributes
    ----------
    matrices, inputs, outputs : int
        How many there are and their sizes.
    inputs_last : bool
        Whether an output's inputs lie side by side, not an input's outputs.
    """

    matrices: int
    inputs: int
    outputs: int
    inputs_last: bool

    def words_bytes(self, machine: Machine) -> int:
        """Bytes of a matrix as words."""
        columns = machine.group_channels(Mode.CONV)
        return -(-self.outputs // columns) * columns * self.inputs

    def nbytes(self, machine: Machine) -> int:
        """Bytes of all words."""
        return self.matrices * self.words_bytes(machine)


def lower_words(
    plan: WordsPlan, site: LayerSite, sources: Sequence[Home], targets: Sequence[Home]
) -> list[Block]:
    """The blocks that write words."""
    columns = site.machine.group_channels(Mode.CONV)
    return [
        block
        for move in word_moves(
            plan.matrices, plan.inputs, plan.outputs, columns, inputs_last=plan.inputs_last
        )
        for block in move_blocks(move, site, sources[0], targets[0])
    ]


@dataclass(frozen=True, kw_only=True, eq=False)
class ProductsPlan(Plan):
    """Layers one after another, each for an input of its own or for one that others have, too.

    Attributes
    ----------
    layers : tuple of ConvPlan
        Those of all matrices of weights; a single one, with weights of zeros, if these are words.
    pairs : tuple of (int, int)
        In the order of the outputs, which input is taken, and which matrix.
    words : WordsPlan or None
        What has written the words; None if weights are constants.
    """

    layers: tuple[ConvPlan, ...]
    pairs: tuple[tuple[int, int], ...]
    words: WordsPlan | None = None


def products_parts(
    plan: ProductsPlan, site: LayerSite, sources: Sequence[Home], targets: Sequence[Home]
) -> list[Convolution]:
    """The layers; the second source, if there is one, is the words in memory."""
    head = plan.layers[0]
    input_bytes, output_bytes = math.prod(head.input_shape), math.prod(head.output_shape)
    parts = []
    for number, (which, matrix) in enumerate(plan.pairs):
        layer, words = plan.layers[matrix if plan.words is None else 0], None
        if plan.words is not None:
            words = sources[1].address + matrix * plan.words.words_bytes(site.machine)
        source = replace(sources[0], address=sources[0].address + which * input_bytes)
        target = replace(targets[0], address=targets[0].address + number * output_bytes)
        parts += convolution_parts(layer, site, [source], [target], words=words)
    return parts
