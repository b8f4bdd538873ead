"""The protocol of banks, halves and tokens, and the order of commands.

Input banks, output banks and the halves of the parameter and constant buffers are each used in
turn (`Ring`). The producer of a ring waits for its `free` token, except for the first time round,
and signals its `ready` token; the consumer the other way round. A layer reads memory only after
the layer before has stored (`STORED`). A command only ever waits for tokens that commands before
it signal, so a program can't deadlock.

The order lets units overlap although the fetcher stops at a unit that is still pending: the loads
of the next step stand before the compute commands of this one, as far as their tokens allow.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mensa.rtl.commands import BUFFER_ADDRESS_BITS, Space, Token, Unit
from mensa.rtl.machine import Machine
from mensa.rtl.program import Assembler, Words
from mensa.sched.lower.work import Copy, LayerWork, ParameterSet, Step, Tile


@dataclass
class Ring:
    """Equal places used in turn, filled by one unit and emptied by another.

    Attributes
    ----------
    places : int
        How many there are.
    ready, free : Token
        What the filler and the emptier signal.
    """

    places: int
    ready: Token
    free: Token
    _filled: int = 0
    _freed: int = 0

    @property
    def has_room(self) -> bool:
        """Whether the next place is free once the commands so far are done."""
        return self._filled - self._freed < self.places

    def fill(self) -> tuple[int, list[Token]]:
        """Take the next place. Returns: its number and what to wait for before writing it."""
        assert self.has_room, f"would wait for a {self.free.name} that comes later"
        place = self._filled % self.places
        wait = [self.free] if self._filled >= self.places else []
        self._filled += 1
        return place, wait

    def empty(self) -> None:
        """The place filled longest ago is given back by the command that is written next."""
        self._freed += 1


@dataclass
class Traffic:
    """What the commands of one layer move and how many there are.

    Attributes
    ----------
    read_bytes, write_bytes : int
        Copied from and to memory, without what bursts read beyond a row.
    commands : counter of Unit
        Commands of each unit.
    """

    read_bytes: int = 0
    write_bytes: int = 0
    commands: Counter[Unit] = field(default_factory=Counter)


@dataclass(frozen=True)
class _Place:
    """A step with all that is known of its surroundings."""

    layer: int
    tile: Tile
    step: Step
    first_of_layer: bool
    first_of_tile: bool
    last_of_tile: bool
    last_of_layer: bool
    new_parameters: bool
    drops_parameters: bool


class Emitter:
    """Writes the commands of layers, in an order that overlaps, with the tokens they need.

    Parameters
    ----------
    machine : Machine
        Whose banks and halves are given out.

    Attributes
    ----------
    traffic : dict of int to Traffic
        What each layer's commands move, by operator index.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._assembler = Assembler(machine)
        inputs = machine.activation_banks // 2
        outputs = machine.activation_banks - inputs
        self._first_output_bank = inputs
        self._activations = Ring(inputs, Token.ACTIVATIONS_READY, Token.ACTIVATIONS_FREE)
        self._results = Ring(outputs, Token.RESULTS_READY, Token.RESULTS_FREE)
        self._parameters = Ring(2, Token.PARAMETERS_READY, Token.PARAMETERS_FREE)
        self._stored = 0  # layers whose last store has been written and that nobody waited for yet
        self._tile_queue: deque[tuple[int, _Place]] = deque()
        self._parameter_queue: deque[tuple[int, _Place]] = deque()
        self._bank: dict[int, int] = {}  # by step: input bank of its tile
        self._half: dict[int, int] = {}  # by step: half of its parameters
        self._first_layer = -1
        self.traffic: dict[int, Traffic] = {}

    def emit(self, layers: Sequence[LayerWork]) -> None:
        """Write all commands of `layers`, one after another."""
        places = list(_places(layers))
        self._first_layer = places[0].layer if places else -1
        self._tile_queue.extend((k, p) for k, p in enumerate(places) if p.first_of_tile)
        self._parameter_queue.extend((k, p) for k, p in enumerate(places) if p.new_parameters)
        in_bank = half = out_bank = 0
        for number, place in enumerate(places):
            self._loads_for(number)
            self._loads_ahead(number)
            wait: list[Token] = []
            if place.new_parameters:
                half = self._half.pop(number)
                wait.append(Token.PARAMETERS_READY)
            if place.first_of_tile:
                in_bank = self._bank.pop(number)
                out_bank, wait_results = self._results.fill()
                wait += [Token.ACTIVATIONS_READY, *wait_results]
            self._compute(place, wait, in_bank, half, self._first_output_bank + out_bank)
            if place.last_of_tile:
                last = number == len(places) - 1
                self._store(place, self._first_output_bank + out_bank, last)

    def finish(self) -> Words:
        """End the program. Returns: its words."""
        return self._assembler.finish()

    def _loads_for(self, number: int) -> None:
        """What step `number` needs and nobody has loaded yet."""
        while self._parameter_queue and self._parameter_queue[0][0] <= number:
            self._load_parameters()
        while self._tile_queue and self._tile_queue[0][0] <= number:
            self._load_tile()

    def _loads_ahead(self, number: int) -> None:
        """What later steps need and there is room for: the next step's parameters come first."""
        if self._parameter_queue and self._parameter_queue[0][0] == number + 1:
            self._load_parameters_if_room()
        if self._tile_queue and self._activations.has_room:
            place = self._tile_queue[0][1]
            if not self._must_wait_for_store(place) or self._stored:
                self._load_tile()
        self._load_parameters_if_room()

    def _load_parameters_if_room(self) -> None:
        if self._parameter_queue and self._parameters.has_room:
            self._load_parameters()

    def _must_wait_for_store(self, place: _Place) -> bool:
        return place.first_of_layer and place.layer != self._first_layer

    def _load_parameters(self) -> None:
        number, place = self._parameter_queue.popleft()
        self._half[number], wait = self._parameters.fill()
        half = self._half[number]
        content = place.step.parameters
        assert content is not None
        parts = [
            (
                Space.PARAMETER,
                content.parameter_address,
                content.parameter_bytes,
                half * (self._machine.parameter_buffer_bytes // 2),
            ),
            (
                Space.CONSTANT,
                content.constant_address,
                content.constant_bytes,
                half * (self._machine.constant_entries // 2) * self._machine.constant_entry_bytes,
            ),
        ]
        copies = [
            (space, Copy(address, 0, nbytes), start)
            for space, address, nbytes, start in parts
            if nbytes
        ]
        self._copies(Unit.LOAD, place.layer, copies, wait, [Token.PARAMETERS_READY])

    def _load_tile(self) -> None:
        number, place = self._tile_queue.popleft()
        wait_store = self._must_wait_for_store(place)
        self._bank[number], wait = self._activations.fill()
        if wait_store:
            assert self._stored, "would wait for a STORED that comes later"
            self._stored -= 1
            wait.append(Token.STORED)
        start = self._bank[number] * self._machine.activation_bank_bytes
        copies = [(Space.ACTIVATION, copy, start) for copy in place.tile.loads]
        self._copies(Unit.LOAD, place.layer, copies, wait, [Token.ACTIVATIONS_READY])

    def _compute(
        self, place: _Place, wait: list[Token], in_bank: int, half: int, out_bank: int
    ) -> None:
        signal: list[Token] = []
        if place.drops_parameters:
            signal.append(Token.PARAMETERS_FREE)
            self._parameters.empty()
        if place.last_of_tile:
            signal += [Token.ACTIVATIONS_FREE, Token.RESULTS_READY]
            self._activations.empty()
        machine = self._machine
        bank_bytes = machine.activation_bank_bytes
        starts = {
            "ACT_ADDRESS": in_bank * bank_bytes,
            "OUT_ADDRESS": out_bank * bank_bytes,
            "PARAMETER_ADDRESS": half * (machine.parameter_buffer_bytes // 2),
            "CONSTANT_ENTRY": half * (machine.constant_entries // 2),
        }
        commands = place.step.commands
        for number, command in enumerate(commands):
            registers = {name: value + starts.get(name, 0) for name, value in command.items()}
            registers["ACT_ADDRESS"] = _wrap(registers["ACT_ADDRESS"])
            self._go(
                Unit.COMPUTE,
                place.layer,
                registers,
                wait if number == 0 else [],
                signal if number == len(commands) - 1 else [],
            )

    def _store(self, place: _Place, bank: int, last_of_program: bool) -> None:
        signal = [Token.RESULTS_FREE]
        self._results.empty()
        if place.last_of_layer and not last_of_program:
            signal.append(Token.STORED)
            self._stored += 1
        start = bank * self._machine.activation_bank_bytes
        copies = [(None, copy, start) for copy in place.tile.stores]
        self._copies(Unit.STORE, place.layer, copies, [Token.RESULTS_READY], signal)

    def _copies(
        self,
        unit: Unit,
        layer: int,
        copies: Iterable[tuple[Space | None, Copy, int]],
        wait: list[Token],
        signal: list[Token],
    ) -> None:
        """One command a copy; the first one waits, the last one signals."""
        copies = list(copies)
        for number, (space, copy, start) in enumerate(copies):
            registers = {
                "MEMORY_ADDRESS": copy.memory_address,
                "BUFFER_ADDRESS": start + copy.offset,
                "ROW_BYTES": copy.row_bytes,
                "ROWS": copy.rows,
            }
            if copy.rows > 1:
                registers |= {"MEMORY_PITCH": copy.memory_pitch, "BUFFER_PITCH": copy.pitch}
            if space is not None:
                registers["SPACE"] = space
            self._go(
                unit,
                layer,
                registers,
                wait if number == 0 else [],
                signal if number == len(copies) - 1 else [],
            )
            traffic = self.traffic[layer]
            if unit == Unit.LOAD:
                traffic.read_bytes += copy.nbytes
            else:
                traffic.write_bytes += copy.nbytes

    def _go(
        self,
        unit: Unit,
        layer: int,
        registers: Mapping[str, int],
        wait: list[Token],
        signal: list[Token],
    ) -> None:
        self._assembler.go(unit, registers, wait, signal, layer)
        self.traffic.setdefault(layer, Traffic()).commands[unit] += 1


def _places(layers: Sequence[LayerWork]) -> Iterable[_Place]:
    """Every step of every layer, in order."""
    for layer in layers:
        steps = [
            (tile, step, number == 0, number == len(tile.steps) - 1)
            for tile in layer.tiles
            for number, step in enumerate(tile.steps)
        ]
        for k, (tile, step, first, last) in enumerate(steps):
            before = steps[k - 1][1].parameters if k else None
            after = steps[k + 1][1].parameters if k + 1 < len(steps) else None
            own: ParameterSet | None = step.parameters
            yield _Place(
                layer=layer.operator,
                tile=tile,
                step=step,
                first_of_layer=k == 0,
                first_of_tile=first,
                last_of_tile=last,
                last_of_layer=k == len(steps) - 1,
                new_parameters=own is not None and own is not before,
                drops_parameters=own is not None and own is not after,
            )


def _wrap(address: int) -> int:
    """`address` as a signed number of the width at which address arithmetic wraps."""
    half = 1 << (BUFFER_ADDRESS_BITS - 1)
    return (address + half) % (2 * half) - half
