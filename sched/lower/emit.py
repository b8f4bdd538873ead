"""The protocol of slots and tokens, and the order of commands.

Slots for streamed inputs and outputs, and those for streamed parameters, are each used in turn
(`Ring`). The producer of a ring waits for its `free` token, except for the first time round, and
signals its `ready` token; the consumer the other way round. A layer that reads memory which an
earlier one writes waits until that one has stored (`STORED`), and a compute command whose
operands an earlier one leaves on chip waits for those results (`SETTLED`), unless something else
already says that they are there. A command only ever waits for tokens that commands before it
signal, so a program can't deadlock.

The order lets units overlap although the fetcher stops at a unit that is still pending: the loads
of the next phase stand before the compute commands of this one, as far as their tokens allow. Of
several loads for one set of parameters, of which the first waits, the others stand behind these.

Copies never meet the compute unit at a port of a bank. The rings have banks of their own. What
stays on chip is loaded before the first compute command and stored after the last; or part by part
while the first layer reads it or the last one writes it, if that layer writes, or reads, no bank of
it.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mensa.rtl.commands import (
    BUFFER_ADDRESS_BITS,
    Mode,
    Space,
    Token,
    Unit,
    Width,
    compute_registers,
    copy_registers,
)
from mensa.rtl.machine import Machine
from mensa.rtl.program import Assembler, Command, Words
from mensa.sched.lower.buffer_plan import BufferPlan
from mensa.sched.lower.options import LoweringOptions
from mensa.sched.lower.residency import ParameterPlan
from mensa.sched.lower.work import (
    Block,
    Compute,
    Copy,
    LayerWork,
    ParameterSet,
    Phase,
    Span,
    Transfer,
)


@dataclass
class Ring:
    """Equal slots used in turn, filled by one unit and emptied by another.

    Attributes
    ----------
    slots : int
        How many there are.
    ready, free : Token
        What the filler and the emptier signal.
    """

    slots: int
    ready: Token
    free: Token
    _filled: int = 0
    _freed: int = 0

    @property
    def has_room(self) -> bool:
        """Whether the next slot is free once the commands so far are done."""
        return self._filled - self._freed < self.slots

    def fill(self) -> tuple[int, set[Token]]:
        """Take the next slot. Returns: its number and what to wait for before writing it."""
        assert self.has_room, f"would wait for a {self.free.name} that comes later"
        slot = self._filled % self.slots
        wait = {self.free} if self._filled >= self.slots else set()
        self._filled += 1
        return slot, wait

    def empty(self) -> None:
        """The slot filled longest ago is given back by the command that is written next."""
        self._freed += 1


@dataclass
class Traffic:
    """What the commands of one layer move and how many there are.

    Attributes
    ----------
    read_bytes, write_bytes : int
        Copied from and to memory, without what bursts read beyond a row.
    parameter_bytes : int
        Parameters and constants among what is read.
    spilled_bytes : int
        Among what is read and written, results that an operator's own stages hand over through
        memory.
    commands : counter of Unit
        Commands of each unit.
    """

    read_bytes: int = 0
    write_bytes: int = 0
    parameter_bytes: int = 0
    spilled_bytes: int = 0
    commands: Counter[Unit] = field(default_factory=Counter)


@dataclass
class _Command:
    """A command to which tokens may still be added."""

    unit: Unit
    layer: int
    registers: Mapping[str, int]
    wait: set[Token]
    signal: set[Token]


class _Results:
    """Which compute command leaves what on chip, and which are known to be done."""

    def __init__(self) -> None:
        self._written: list[tuple[Span, int]] = []
        self._commands: list[_Command] = []
        self._done = -1  # all commands up to this one are done when the next one starts

    @property
    def count(self) -> int:
        """Compute commands so far."""
        return len(self._commands)

    @property
    def last(self) -> _Command:
        """The latest compute command."""
        return self._commands[-1]

    def add(self, command: _Command, reads: Iterable[Span], writes: Span | None) -> None:
        """The next command: let it wait for what it reads."""
        number = len(self._commands)
        before = self._commands[-1:]
        if any(_is_vector(each) for each in (*before, command)):
            self._done = number - 1
        needed = [
            writer
            for written, writer in self._written
            if writer > self._done and any(written.overlaps(span) for span in reads)
        ]
        if needed:
            self._done = max(needed)
            self._commands[self._done].signal.add(Token.SETTLED)
            command.wait.add(Token.SETTLED)
        if writes is not None:
            self._written = [
                (written, writer) for written, writer in self._written if not writes.covers(written)
            ]
            self._written.append((writes, number))
        self._commands.append(command)


def _is_vector(command: _Command) -> bool:
    return Mode(command.registers["MODE"]).is_vector


@dataclass(frozen=True)
class _Turn:
    """A phase with all that is known of its surroundings."""

    layer: LayerWork
    block: Block
    phase: Phase
    first_of_block: bool
    last_of_block: bool
    last_of_layer: bool
    last_store: bool
    new_parameters: bool
    drops_parameters: bool


class Emitter:
    """Writes the commands of layers, in an order that overlaps, with the tokens they need.

    Parameters
    ----------
    machine : Machine
        Which core.
    buffers, parameters : BufferPlan, ParameterPlan
        Whose slots are given out.
    spilled : collection of range
        Addresses in memory of results that operators hand from stage to stage.

    Attributes
    ----------
    traffic : dict of int to Traffic
        What each layer's commands move, by operator index.
    complete : dict of int to int
        How many compute commands have been carried out when a layer is computed, by operator.
    """

    def __init__(
        self,
        machine: Machine,
        buffers: BufferPlan,
        parameters: ParameterPlan,
        options: LoweringOptions,
        spilled: Collection[range] = (),
    ) -> None:
        self._machine = machine
        self._options = options
        self._spilled = spilled
        self._buffers = buffers
        self._room = parameters
        self._drafts: list[_Command] = []
        self._activations = Ring(
            buffers.inputs.slots, Token.ACTIVATIONS_READY, Token.ACTIVATIONS_FREE
        )
        self._results = Ring(buffers.outputs.slots, Token.RESULTS_READY, Token.RESULTS_FREE)
        self._parameters = Ring(parameters.slots, Token.PARAMETERS_READY, Token.PARAMETERS_FREE)
        self._settled = _Results()
        self._takes_stored: dict[LayerWork, LayerWork] = {}  # whose stores a layer's loads wait for
        self._numbers: dict[LayerWork, int] = {}  # of layers, in order
        self._waiting: list[LayerWork] = []  # those of them that have not waited yet, in order
        self._stored: set[LayerWork] = set()  # layers whose last store has been written
        self._block_queue: deque[tuple[int, _Turn]] = deque()
        self._parameter_queue: deque[tuple[int, _Turn]] = deque()
        self._slice_queue: deque[tuple[int, list[Copy]]] = deque()
        self._arrived: set[int] = set()  # phases that wait for tensors, or parts of them
        self._late: tuple[int, list[tuple[Space | None, Copy, int]], set[Token]] | None = None
        self._late_for = 0  # the phase that needs them
        self._first_layer = 0
        self._in_slot: dict[int, int] = {}  # by phase: slot of its block's inputs
        self._streamed_in: dict[int, int] = {}  # by phase: slot of its parameters
        self.traffic: dict[int, Traffic] = {}
        self.complete: dict[int, int] = {}

    def load_resident(self, layer: int, sets: Iterable[ParameterSet]) -> None:
        """Load parameters that stay on chip."""
        for content in sets:
            assert content.resident is not None
            self._copies(Unit.LOAD, layer, self._parts(content, *content.resident), (), ())

    def emit(
        self,
        layers: Sequence[LayerWork],
        arrivals: Sequence[Transfer] = (),
        departures: Sequence[Transfer] = (),
    ) -> None:
        """Write all commands of a program, layer after layer.

        Parameters
        ----------
        layers : sequence of LayerWork
            In order.
        arrivals, departures : sequences of Transfer
            Tensors that stay on chip and are loaded first, or stored last.
        """
        turns = list(_turns(layers))
        if not turns:
            return
        self._takes_stored = _waits_for_stores(layers)
        self._numbers = {layer: number for number, layer in enumerate(layers)}
        self._waiting = list(self._takes_stored)
        self._block_queue.extend(
            (k, p) for k, p in enumerate(turns) if p.first_of_block and p.block.loads
        )
        self._parameter_queue.extend((k, p) for k, p in enumerate(turns) if p.new_parameters)
        self._first_layer = turns[0].layer.operator
        self._slice_queue.extend(self._arrivals(turns, arrivals))
        leaving = self._departures(turns, departures)
        in_slot = parameter_slot = out_slot = 0
        for number, turn in enumerate(turns):
            self._loads_for(number)
            self._loads_ahead(number)
            wait: set[Token] = set()
            if turn.new_parameters:
                parameter_slot = self._streamed_in.pop(number)
                wait.add(Token.PARAMETERS_READY)
            if number in self._arrived:
                wait.add(Token.ACTIVATIONS_READY)
            if turn.first_of_block and turn.block.loads:
                in_slot = self._in_slot.pop(number)
                wait.add(Token.ACTIVATIONS_READY)
            if turn.first_of_block and turn.block.stores:
                out_slot, wait_results = self._results.fill()
                wait |= wait_results
            if self._late_for <= number:
                self._load_late()
            self._compute(turn, wait, in_slot, parameter_slot, out_slot)
            self._load_late()
            if turn.last_of_block and turn.block.stores:
                self._store(turn, out_slot)
            self._store_tensors(turn, leaving.get(number, ()))
            if turn.last_of_layer:
                self.complete[turn.layer.operator] = self._settled.count

    def _arrivals(
        self, turns: Sequence[_Turn], arrivals: Sequence[Transfer]
    ) -> list[tuple[int, list[Copy]]]:
        """What to load before which phase: all before the first, or each block's part before it."""
        blocks = [number for number, turn in _blocks(turns) if turn.layer is turns[0].layer]
        written = [
            command.writes
            for number in blocks
            for command in _commands(turns[number].block)
            if command.writes is not None
        ]
        loads = any(turns[number].block.loads for number in blocks)
        whole = [transfer.copy() for transfer in arrivals]
        slices: list[tuple[int, list[Copy]]] = []
        for transfer in arrivals:
            if loads or self._banks([transfer.span]) & self._banks(written):
                continue
            loaded = transfer.span.start
            parts = []
            for number in blocks:
                end = max(
                    (
                        min(span.end, transfer.span.end)
                        for command in _commands(turns[number].block)
                        for span in command.reads
                        if span.overlaps(transfer.span)
                    ),
                    default=loaded,
                )
                end = min(
                    -(-end // self._machine.beat_bytes) * self._machine.beat_bytes,
                    transfer.span.end,
                )
                if end > loaded:
                    parts.append((number, [transfer.copy(Span(loaded, end))]))
                    loaded = end
            if loaded == transfer.span.end:
                whole.remove(transfer.copy())
                slices += parts
                break  # a second one would need tokens of its own
        if whole and slices and slices[0][0] == 0:
            slices[0] = (0, whole + slices[0][1])
        elif whole:
            slices.insert(0, (0, whole))
        return slices

    def _departures(
        self, turns: Sequence[_Turn], departures: Sequence[Transfer]
    ) -> dict[int, list[Copy]]:
        """What to store after which phase: all after the last, or each block's part after it."""
        layer = turns[-1].layer
        last = [k for k, turn in enumerate(turns) if turn.layer is layer and turn.last_of_block]
        read = [
            span
            for number in last
            for command in _commands(turns[number].block)
            for span in command.reads
        ]
        leaving: dict[int, list[Copy]] = {number: [] for number in last}
        for transfer in departures:
            parts = [_written(turns[number].block) for number in last]
            edges = [transfer.span.start]
            for part in parts:
                if part is not None and part.start == edges[-1]:
                    edges.append(part.end)
            in_order = len(edges) == len(parts) + 1 and edges[-1] == transfer.span.end
            if in_order and not self._banks([transfer.span]) & self._banks(read):
                for number, start, end in zip(last, edges, edges[1:], strict=False):
                    leaving[number].append(transfer.copy(Span(start, end)))
            else:
                leaving[last[-1]].append(transfer.copy())
        return leaving

    def _banks(self, spans: Iterable[Span]) -> set[int]:
        """The banks of the activation buffer that hold these bytes."""
        size = self._machine.activation_bank_bytes
        return {
            bank for span in spans for bank in range(span.start // size, (span.end - 1) // size + 1)
        }

    def _store_tensors(self, turn: _Turn, copies: Sequence[Copy]) -> None:
        """Store tensors that stay on chip, or parts of them."""
        if not copies:
            return
        wait = set()
        if Token.RESULTS_READY not in self._settled.last.signal:
            self._settled.last.signal.add(Token.RESULTS_READY)
            wait.add(Token.RESULTS_READY)
        self._copies(
            Unit.STORE, turn.layer.operator, [(None, copy, 0) for copy in copies], wait, ()
        )

    def finish(self) -> tuple[Words, Sequence[Command]]:
        """End the program. Returns: its words and commands."""
        assembler = Assembler(self._machine)
        for draft in self._drafts:
            assembler.go(draft.unit, draft.registers, draft.wait, draft.signal, draft.layer)
        return assembler.finish(), assembler.commands

    def _loads_for(self, number: int) -> None:
        """What phase `number` needs and nobody has loaded yet."""
        while self._parameter_queue and self._parameter_queue[0][0] <= number:
            self._load_parameters()
        while self._slice_queue and self._slice_queue[0][0] <= number:
            self._load_slice()
        while self._block_queue and self._block_queue[0][0] <= number:
            self._load_block()

    def _loads_ahead(self, number: int) -> None:
        """What later phases need and there is room for: the next phase's parameters come first."""
        if self._parameter_queue and self._parameter_queue[0][0] == number + 1:
            self._load_parameters_if_room()
        if self._slice_queue and self._options.prefetch:
            self._load_slice()
        # Slices and blocks share a token: they arrive in the order in which they are used.
        can_load = not self._slice_queue and self._activations.has_room
        if self._block_queue and can_load and self._is_stored(self._block_queue[0][1]):
            self._load_block()
        self._load_parameters_if_room()

    def _load_parameters_if_room(self) -> None:
        if self._parameter_queue and self._parameters.has_room:
            turn = self._parameter_queue[0][1]
            content = turn.phase.parameters
            assert content is not None
            if not content.computed or self._is_stored(turn):
                self._load_parameters()

    def _is_stored(self, turn: _Turn) -> bool:
        """Whether commands so far store all that a phase's loads read, and they may come next.

        Layers wait in their order: no load may wait, or do without, before those of layers before.
        """
        if not self._waiting or self._numbers[self._waiting[0]] > self._numbers[turn.layer]:
            return True
        first = self._waiting[0]
        return first is turn.layer and self._takes_stored[first] in self._stored

    def _wait_for_stores(self, turn: _Turn) -> set[Token]:
        """What a load of what is stored waits for: the first one of a layer, for all of them."""
        if turn.layer not in self._waiting:
            return set()
        assert self._is_stored(turn), "would wait for a STORED that comes later"
        self._waiting.remove(turn.layer)
        return {Token.STORED}

    def _load_parameters(self) -> None:
        number, turn = self._parameter_queue.popleft()
        self._streamed_in[number], wait = self._parameters.fill()
        content = turn.phase.parameters
        assert content is not None
        if content.computed:
            wait |= self._wait_for_stores(turn)
        copies = self._parts(content, *self._parameter_start(self._streamed_in[number]))
        operator, signal = turn.layer.operator, {Token.PARAMETERS_READY}
        if wait and len(copies) > 1:
            first, *late = copies
            self._copies(Unit.LOAD, operator, [first], wait, ())
            self._late, self._late_for = (operator, late, signal), number
        else:
            self._copies(Unit.LOAD, operator, copies, wait, signal)
        nbytes = content.parameter_bytes + content.constant_bytes
        self.traffic[turn.layer.operator].parameter_bytes += nbytes

    def _load_late(self) -> None:
        """The other loads of parameters whose first one waits.

        The fetcher can't reach them before that one has started, nor what stands behind them; so
        they stand behind the next compute command that doesn't need them.
        """
        if self._late is not None:
            (operator, copies, signal), self._late = self._late, None
            self._copies(Unit.LOAD, operator, copies, (), signal)

    def _parameter_start(self, number: int) -> tuple[int, int]:
        """Parameter buffer address and constant entry of a slot for streamed parameters."""
        room = self._room
        return (
            room.start + number * room.slot_bytes,
            room.first_entry + number * room.slot_entries,
        )

    def _parts(
        self, content: ParameterSet, address: int, entry: int
    ) -> list[tuple[Space | None, Copy, int]]:
        """The copies that bring parameters and constants to their slots."""
        parts = [
            (Space.PARAMETER, content.parameter_address, content.parameter_bytes, address),
            (
                Space.CONSTANT,
                content.constant_address,
                content.constant_bytes,
                entry * self._machine.constant_entry_bytes,
            ),
        ]
        return [
            (space, Copy(memory_address, 0, nbytes), start)
            for space, memory_address, nbytes, start in parts
            if nbytes
        ]

    def _load_block(self) -> None:
        number, turn = self._block_queue.popleft()
        self._in_slot[number], wait = self._activations.fill()
        wait |= self._wait_for_stores(turn)
        start = self._buffers.inputs.address(self._in_slot[number])
        copies = [(Space.ACTIVATION, copy, start) for copy in turn.block.loads]
        self._copies(Unit.LOAD, turn.layer.operator, copies, wait, {Token.ACTIVATIONS_READY})

    def _load_slice(self) -> None:
        number, copies = self._slice_queue.popleft()
        signal = set()
        if not self._block_follows(number):
            self._arrived.add(number)
            signal.add(Token.ACTIVATIONS_READY)
        copies_on_chip = [(Space.ACTIVATION, copy, 0) for copy in copies]
        self._copies(Unit.LOAD, self._first_layer, copies_on_chip, (), signal)

    def _block_follows(self, number: int) -> bool:
        """Whether the phase waits for a block's loads, which come later and imply this one."""
        return bool(self._block_queue) and self._block_queue[0][0] == number

    def _compute(
        self, turn: _Turn, wait: set[Token], in_slot: int, parameter_slot: int, out_slot: int
    ) -> None:
        signal: set[Token] = set()
        if turn.drops_parameters:
            signal.add(Token.PARAMETERS_FREE)
            self._parameters.empty()
        if turn.last_of_block and turn.block.loads:
            signal.add(Token.ACTIVATIONS_FREE)
            self._activations.empty()
        if turn.last_of_block and turn.block.stores:
            signal.add(Token.RESULTS_READY)
        content = turn.phase.parameters
        if content is None:
            address = entry = 0
        else:
            address, entry = content.resident or self._parameter_start(parameter_slot)
        starts = compute_registers(PARAMETER_ADDRESS=address, CONSTANT_ENTRY=entry)
        commands = turn.phase.commands
        for number, command in enumerate(commands):
            draft = self._go(
                Unit.COMPUTE,
                turn.layer.operator,
                self._registers(command, starts, in_slot, out_slot),
                wait if number == 0 else (),
                signal if number == len(commands) - 1 else (),
            )
            self._settled.add(draft, command.reads, command.writes)

    def _registers(
        self, command: Compute, starts: Mapping[str, int], in_slot: int, out_slot: int
    ) -> dict[str, int]:
        """A command's registers with the starts of its slots."""
        registers = compute_registers(WIDTH=Width.BYTE) | {
            name: value + starts.get(name, 0) for name, value in command.registers.items()
        }
        for name, times in command.streamed.items():
            registers[name] += times * self._buffers.inputs.address(in_slot)
        if command.writes is None:
            registers["OUT_ADDRESS"] += self._buffers.outputs.address(out_slot)
        for name in ("ACT_ADDRESS", "TAP_Y_ADDRESS_STEP"):
            registers[name] = _wrap(registers[name])
        return registers

    def _store(self, turn: _Turn, out_slot: int) -> None:
        signal = {Token.RESULTS_FREE}
        self._results.empty()
        layer = turn.layer.operator
        if turn.last_store:
            self._stored.add(turn.layer)
            if turn.layer in self._takes_stored.values():
                signal.add(Token.STORED)
        start = self._buffers.outputs.address(out_slot)
        copies = [(None, copy, start) for copy in turn.block.stores]
        self._copies(Unit.STORE, layer, copies, {Token.RESULTS_READY}, signal)

    def _copies(
        self,
        unit: Unit,
        layer: int,
        copies: Iterable[tuple[Space | None, Copy, int]],
        wait: Iterable[Token],
        signal: Iterable[Token],
    ) -> None:
        """One command a copy; the first one waits, the last one signals."""
        copies = list(copies)
        if unit is Unit.LOAD:
            self._load_late()
        for number, (space, copy, start) in enumerate(copies):
            registers = copy_registers(
                MEMORY_ADDRESS=copy.memory_address,
                BUFFER_ADDRESS=start + copy.offset,
                ROW_BYTES=copy.row_bytes,
                ROWS=copy.rows,
            )
            if copy.rows > 1:
                pitches = copy_registers(MEMORY_PITCH=copy.memory_pitch, BUFFER_PITCH=copy.pitch)
                registers |= pitches
            if space is not None:
                registers |= copy_registers(SPACE=space)
            self._go(
                unit,
                layer,
                registers,
                wait if number == 0 else (),
                signal if number == len(copies) - 1 else (),
            )
            traffic = self.traffic[layer]
            if unit == Unit.LOAD:
                traffic.read_bytes += copy.nbytes
            else:
                traffic.write_bytes += copy.nbytes
            if any(copy.memory_address in place for place in self._spilled):
                traffic.spilled_bytes += copy.nbytes

    def _go(
        self,
        unit: Unit,
        layer: int,
        registers: Mapping[str, int],
        wait: Iterable[Token],
        signal: Iterable[Token],
    ) -> _Command:
        draft = _Command(unit, layer, registers, set(wait), set(signal))
        self._drafts.append(draft)
        self.traffic.setdefault(layer, Traffic()).commands[unit] += 1
        return draft


def _waits_for_stores(layers: Sequence[LayerWork]) -> dict[LayerWork, LayerWork]:
    """By layer: the layer whose stores its loads wait for, where nothing earlier waited for them.

    Stores are done in order, so who has waited for a layer's has waited for those of all layers
    before it. The layers that are waited for come in their order, as their tokens do.
    """
    writer: dict[int, int] = {}  # by tensor: number of the layer that stores it
    waited = -1
    found = {}
    for number, layer in enumerate(layers):
        needed = max((writer.get(source, -1) for source in layer.sources), default=-1)
        if needed > waited:
            found[layer] = layers[needed]
            waited = needed
        writer |= dict.fromkeys(layer.targets, number)
    return found


def _turns(layers: Sequence[LayerWork]) -> Iterable[_Turn]:
    """Every phase of every layer, in order."""
    for layer in layers:
        phases = [
            (block, phase, number == 0, number == len(block.phases) - 1)
            for block in layer.blocks
            for number, phase in enumerate(block.phases)
        ]
        storing = [k for k, (block, _, _, last) in enumerate(phases) if last and block.stores]
        last_store = next(reversed(storing), None)
        for k, (block, phase, first, last) in enumerate(phases):
            own = _streamed(phase.parameters)
            yield _Turn(
                layer=layer,
                block=block,
                phase=phase,
                first_of_block=first,
                last_of_block=last,
                last_of_layer=k == len(phases) - 1,
                last_store=k == last_store,
                new_parameters=own is not None
                and (k == 0 or own is not phases[k - 1][1].parameters),
                drops_parameters=own is not None
                and (k + 1 == len(phases) or own is not phases[k + 1][1].parameters),
            )


def _blocks(turns: Iterable[_Turn]) -> Iterable[tuple[int, _Turn]]:
    """The first phase of every block, and its number."""
    return [(number, turn) for number, turn in enumerate(turns) if turn.first_of_block]


def _commands(block: Block) -> Iterable[Compute]:
    return [command for phase in block.phases for command in phase.commands]


def _written(block: Block) -> Span | None:
    """What a block writes of a tensor on chip, if all its commands write into the same span."""
    spans = {command.writes for command in _commands(block)}
    return spans.pop() if len(spans) == 1 else None


def _streamed(content: ParameterSet | None) -> ParameterSet | None:
    """The parameters, if they have to be loaded."""
    return content if content is not None and content.resident is None else None


def _wrap(address: int) -> int:
    """`address` as a signed number of the width at which address arithmetic wraps."""
    half = 1 << (BUFFER_ADDRESS_BITS - 1)
    return (address + half) % (2 * half) - half
