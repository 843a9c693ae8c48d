"""Machine that runs PTX, as Triton compiles kernels to it, on the CPU: all threads at once, as lanes of NumPy.

It knows the instructions that the kernels of fastgs need, and stops at any other by its name. Every address is checked
against the allocations, and so are reads of shared memory that nobody wrote, and conflicts of warps that no barrier
separates: threads of one warp go together, so their accesses have an order.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray
F32, I32, U32, I64, U64 = np.float32, np.int32, np.uint32, np.int64, np.uint64
WARP = 32
SHARED = 48 * 1024  # bytes of a program
BASE = 1 << 20  # address of the first allocation
GUARD = 256  # bytes between allocations
NOBODY, MANY = -1, -2
SMALLEST = F32(2.0**-126)  # smaller numbers are flushed to 0

COMPARE: dict[str, Callable[[Array, Array], Array]] = {
    "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "eq": np.equal, "ne": np.not_equal,
}  # fmt: skip


class FaultError(Exception):
    """Access or instruction that a GPU would answer with a wrong result or an error."""


class Instruction(NamedTuple):
    """One instruction: names of the operation, operands, and the predicate that it depends on."""

    parts: list[str]
    operands: list[str]
    predicate: str | None
    negated: bool


class Program:
    """Kernel in PTX."""

    def __init__(self, text: str) -> None:
        entry = text.index(".entry")
        body = text.index("{", entry)
        self.name = re.search(r"\.entry (\w+)\(", text)[1]
        self.parameters = re.findall(r"\.param \.\w+.*?(\w+_param_\d+)", text[entry:body])
        self.threads = int(re.search(r"\.(?:reqntid|maxntid) (\d+)", text)[1])
        local = re.search(r"__local_depot0\[(\d+)\]", text)
        self.local = max(16, int(local[1]) if local else 0)
        tables = re.finditer(r"\.(?:global|const) \.align \d+ \.b(\d+) (\S+?)\[(\d+)\] = \{([^}]*)\}", text)
        self.tables = {
            each[2]: np.array([int(value, 0) for value in each[4].split(",")], f"u{int(each[1]) // 8}")
            for each in tables
        }
        self.code: list[Instruction] = []
        self.labels: dict[str, int] = {}
        self._parse(re.sub(r"//[^\n]*", "", text[body + 1 :]))

    def _parse(self, text: str) -> None:
        depth = 0
        for line in text.split("\n"):
            line = line.strip()
            if line == "}" and not depth:
                return
            # Scopes of variables.
            if line in ("{", "}"):
                depth += 1 if line == "{" else -1
                continue
            if line.startswith("{") and line.endswith("}"):
                line = line[1:-1].strip()
            label = re.match(r"^(\$?\w+):$", line)
            if label:
                self.labels[label[1]] = len(self.code)
            elif line.endswith(";") and not line.startswith((".", "}")):
                for statement in line.rstrip(";").split(";"):
                    found = re.match(r"^\s*(?:@(!?)(%\w+)\s+)?(\S+)\s*(.*)$", statement)
                    operands = re.findall(r"\{[^}]*\}|\[[^\]]*\]|[^,{}\[\]]+", found[4])
                    operands = [each.strip() for each in operands if each.strip()]
                    self.code.append(Instruction(found[3].split("."), operands, found[2], found[1] == "!"))


class Memory:
    """Global memory: arrays with guards between them."""

    def __init__(self) -> None:
        self._arrays: list[tuple[int, Array]] = []
        self._size = 0

    def add(self, array: Array) -> int:
        """Return the address of an array."""
        place = self._size
        self._arrays.append((place, array.reshape(-1).view(np.uint8)))
        self._size += -(-array.nbytes // 16) * 16 + GUARD
        return BASE + place

    def build(self) -> None:
        """Copy the arrays."""
        self.bytes = np.zeros(self._size, np.uint8)
        owner = np.zeros(self._size, np.int32)
        for number, (place, array) in enumerate(self._arrays, 1):
            self.bytes[place : place + len(array)] = array
            owner[place : place + len(array)] = number
        self.owner = owner
        halves = self._size // 2
        # Last warp that wrote and read, and how many barriers its program had passed.
        self.writer, self.reader = (np.full(halves, NOBODY, I64) for _ in range(2))
        self.written, self.read = (np.zeros(halves, I64) for _ in range(2))

    def copy_back(self) -> None:
        """Copy to the arrays what was written."""
        for place, array in self._arrays:
            array[:] = self.bytes[place : place + len(array)]


class Run:
    """Launch of a program on a grid.

    Args:
        program: Program.
        memory: Global memory.
        arguments: Number for each parameter; addresses for pointers.
        grid: Numbers of programs.
        order: Permutation of all threads in which atomic operations arrive; by default that of their numbers.
    """

    def __init__(
        self, program: Program, memory: Memory, arguments: list[float], grid: tuple[int, ...], order: Array | None
    ) -> None:
        across, down = (*grid, 1)[:2]
        self.program, self.memory = program, memory
        self.count = across * down * program.threads
        lanes = np.arange(self.count)
        self.block, self.warp = lanes // program.threads, lanes // WARP
        self.order = np.argsort(order) if order is not None else lanes
        self.values = dict(zip(program.parameters, arguments, strict=False))
        zero = np.zeros(self.count, U32)
        thread = (lanes % program.threads).astype(U32)
        self.registers: dict[str, Array] = {
            "%tid.x": thread, "%tid.y": zero, "%laneid": thread % WARP, "%ctaid.x": (self.block % across).astype(U32),
            "%ctaid.y": (self.block // across).astype(U32), "%ctaid.z": zero,
            "%ntid.x": zero + U32(program.threads), "%nctaid.x": zero + U32(across),
        }  # fmt: skip
        self.addresses = {name: memory.add(table) for name, table in program.tables.items()}
        memory.build()
        blocks = across * down
        self.shared = np.zeros((blocks, SHARED), np.uint8)
        self.shared_known = np.zeros((blocks, SHARED), bool)
        self.shared_writer, self.shared_reader = (np.full((blocks, SHARED), NOBODY, I64) for _ in range(2))
        self.local = np.zeros((self.count, program.local), np.uint8)
        self.barriers = np.zeros(blocks, I64)
        self.carry = np.zeros(self.count, U64)

    def __call__(self) -> None:
        """Run all threads to their end; of those at different places, the last in the code go first."""
        end = len(self.program.code)
        place = np.zeros(self.count, I64)
        with np.errstate(all="ignore"):
            while (place < end).any():
                here = int(place.min())
                lanes = np.flatnonzero(place == here)
                instruction = self.program.code[here]
                place[lanes] = here + 1
                if instruction.predicate is not None:
                    mask = self.registers[instruction.predicate][lanes]
                    lanes = lanes[mask != instruction.negated]
                kind = instruction.parts[0]
                if kind == "bra":
                    place[lanes] = self.program.labels[instruction.operands[0]]
                elif kind in ("ret", "exit"):
                    place[lanes] = end
                elif kind == "bar":
                    self._wait(lanes, place < end)
                elif len(lanes):
                    try:
                        self._execute(instruction, lanes)
                    except FaultError as fault:
                        raise FaultError(f"{self.program.name}, {instruction}: {fault}") from None

    def _wait(self, lanes: Array, alive: Array) -> None:
        for block in np.unique(self.block[lanes]):
            if np.isin(np.flatnonzero(alive & (self.block == block)), lanes).all():
                self.barriers[block] += 1
                self.shared_writer[block] = self.shared_reader[block] = NOBODY
            else:
                raise FaultError(f"{self.program.name}: not all threads reach a barrier")

    # Operands

    def _get(self, name: str, lanes: Array, width: int) -> Array:
        if name[0] == "%" and name not in ("%SP", "%SPL"):
            if name not in self.registers:
                raise FaultError(f"{name} was never set")
            value = self.registers[name][lanes]
            return value if value.dtype == bool or value.itemsize == width else value.astype(f"u{width}")
        if name in ("global_smem", "__local_depot0", "%SP", "%SPL"):
            number = 0
        elif name in self.addresses:
            number = self.addresses[name]
        else:
            number = int(name[2:], 16) if name[:2] in ("0f", "0d") else int(name, 0)
        return np.full(len(lanes), number & (1 << 8 * width) - 1, f"u{width}")

    def _put(self, name: str, lanes: Array, value: Array) -> None:
        if name == "_":
            return
        if name not in self.registers:
            self.registers[name] = np.zeros(self.count, value.dtype)
        if self.registers[name].dtype != value.dtype:
            raise FaultError(f"{name} is {self.registers[name].dtype}, the result {value.dtype}")
        self.registers[name][lanes] = value

    def _address(self, operand: str, lanes: Array) -> Array:
        found = re.match(r"\[\s*([^\s+\]]+)\s*(?:\+\s*(-?\d+))?\s*\]", operand)
        return self._get(found[1], lanes, 8).astype(I64) + int(found[2] or 0)

    # Memory

    def _check(self, address: Array, size: int) -> Array:
        place = address - BASE
        if ((place < 0) | (place + size > len(self.memory.bytes)) | (place % size != 0)).any():
            raise FaultError("address outside of memory or not aligned")
        owner = self.memory.owner[place]
        if ((owner == 0) | (owner != self.memory.owner[place + size - 1])).any():
            raise FaultError("address outside of every array")
        return place

    def _note(self, place: Array, size: int, lanes: Array, value: Array | None) -> None:
        """Look for conflicts with other warps, and note the access; a write has a value."""
        memory, warp, time = self.memory, self.warp[lanes], self.barriers[self.block[lanes]]
        warps = self.program.threads // WARP

        def conflicts(who: Array, when: Array) -> Array:
            same_block = (who >= 0) & (who // warps == self.block[lanes])
            return (who != NOBODY) & (who != warp) & ~(same_block & (when < time))

        for half in range(max(1, size // 2)):
            at = place // 2 + half
            wrong = conflicts(memory.writer[at], memory.written[at])
            if value is not None:
                # Several may write the same.
                wrong &= memory.bytes[place + 2 * half] != value.reshape(len(lanes), -1).view(np.uint8)[:, 2 * half]
                wrong |= conflicts(memory.reader[at], memory.read[at])
            if wrong.any():
                raise FaultError("another warp uses the same memory without a barrier")
            if value is not None:
                memory.writer[at], memory.written[at] = warp, time
            else:
                other = (memory.reader[at] != NOBODY) & (memory.reader[at] != warp) & (memory.read[at] == time)
                memory.reader[at], memory.read[at] = np.where(other, MANY, warp), time

    def _load(self, space: list[str], address: Array, size: int, lanes: Array) -> Array:
        if "local" in space:
            rows = self.local[lanes[:, None], address[:, None] + np.arange(size)]
        elif any(each.startswith("shared") for each in space):
            block, places = self.block[lanes][:, None], address[:, None] + np.arange(size)
            if (places < 0).any() or (places >= SHARED).any() or not self.shared_known[block, places].all():
                raise FaultError("shared memory that nobody wrote")
            writer = self.shared_writer[block, places]
            if ((writer != NOBODY) & (writer != self.warp[lanes][:, None])).any():
                raise FaultError("another warp writes the shared memory without a barrier")
            self.shared_reader[block, places] = self.warp[lanes][:, None]
            rows = self.shared[block, places]
        else:
            place = self._check(address, size)
            if "nc" not in space:
                self._note(place, size, lanes, None)
            rows = self.memory.bytes[place[:, None] + np.arange(size)]
        return np.ascontiguousarray(rows).view(f"u{size}")[:, 0]

    def _store(self, space: list[str], address: Array, value: Array, lanes: Array) -> None:
        size = value.itemsize
        rows = value.reshape(-1, 1).view(np.uint8)
        if "local" in space:
            self.local[lanes[:, None], address[:, None] + np.arange(size)] = rows
        elif any(each.startswith("shared") for each in space):
            block, places = self.block[lanes][:, None], address[:, None] + np.arange(size)
            reader = self.shared_reader[block, places]
            if ((reader != NOBODY) & (reader != self.warp[lanes][:, None])).any():
                raise FaultError("another warp reads the shared memory without a barrier")
            self.shared_writer[block, places] = self.warp[lanes][:, None]
            self.shared_known[block, places] = True
            self.shared[block, places] = rows
        else:
            place = self._check(address, size)
            self._note(place, size, lanes, value)
            self.memory.bytes[place[:, None] + np.arange(size)] = rows

    def _add(self, address: Array, value: Array, lanes: Array) -> Array:
        """Add to counters, in the order of arrival, and return what they were."""
        place = self._check(address, 4)
        before = np.zeros(len(lanes), U32)
        counters = self.memory.bytes.view(U32)
        for each in np.argsort(self.order[lanes]):
            before[each] = counters[place[each] // 4]
            counters[place[each] // 4] += value[each]
        return before

    # Instructions

    def _execute(self, instruction: Instruction, lanes: Array) -> None:
        parts, operands = instruction.parts, instruction.operands
        kind, unit = parts[0], parts[-1]
        if kind in ("ld", "st"):
            self._move_memory(parts, operands, lanes)
        elif kind in ("atom", "red"):
            if parts[-2] != "add" or unit != "u32":
                raise FaultError("unknown instruction")
            before = self._add(self._address(operands[-2], lanes), self._get(operands[-1], lanes, 4), lanes)
            if kind == "atom":
                self._put(operands[0], lanes, before)
        elif kind == "ldmatrix":
            self._load_matrices(operands, lanes)
        elif kind == "mov":
            self._move(parts, operands, lanes)
        elif kind == "cvt":
            self._convert(parts, operands, lanes)
        elif kind == "shfl":
            self._shuffle(parts, operands, lanes)
        elif kind == "setp":
            self._compare(parts, operands, lanes)
        elif kind == "selp":
            first, second = (self._get(each, lanes, _width(unit)) for each in operands[1:3])
            self._put(operands[0], lanes, np.where(self.registers[operands[3]][lanes], first, second))
        elif unit == "f32":
            self._compute_floats(parts, operands, lanes)
        elif unit == "f64":
            x, y = (self._get(each, lanes, 8).view(np.float64) for each in operands[1:3])
            self._put(operands[0], lanes, (x * y if kind == "mul" else x + y).view(U64))
        else:
            self._compute_integers(parts, operands, lanes)

    def _move_memory(self, parts: list[str], operands: list[str], lanes: Array) -> None:
        width = _width(parts[-1])
        if parts[1] == "param":
            value = self.values[operands[1].strip("[] ")]
            number = F32(value).view(U32) if isinstance(value, float) else value & (1 << 8 * width) - 1
            self._put(operands[0].strip("{} "), lanes, np.full(len(lanes), number, f"u{width}"))
            return
        which = operands[0] if parts[0] == "ld" else operands[1]
        address = self._address(operands[1] if parts[0] == "ld" else operands[0], lanes)
        for place, name in enumerate(each.strip() for each in which.strip("{}").split(",")):
            if parts[0] == "ld":
                self._put(name, lanes, self._load(parts, address + place * width, width, lanes))
            else:
                self._store(parts, address + place * width, self._get(name, lanes, width), lanes)

    def _load_matrices(self, operands: list[str], lanes: Array) -> None:
        """Load rows of 16 bytes, whose addresses eight threads give, by four threads each."""
        address = np.zeros(self.count, I64)
        address[lanes] = self._address(operands[1], lanes)
        first, lane = lanes // WARP * WARP, lanes % WARP
        if len(lanes) % WARP:
            raise FaultError("not all threads of a warp load matrices")
        for number, name in enumerate(each.strip() for each in operands[0].strip("{}").split(",")):
            row = address[first + 8 * number + lane // 4] + 4 * (lane % 4)
            self._put(name, lanes, self._load(["shared"], row, 4, lanes))

    def _move(self, parts: list[str], operands: list[str], lanes: Array) -> None:
        into, source = operands
        if parts[1] == "pred":
            value = self.registers[source][lanes] if source[0] == "%" else np.full(len(lanes), int(source) != 0)
            self._put(into, lanes, value)
            return
        width = _width(parts[1])
        if into[0] == "{":
            value = self._get(source, lanes, width)
            for place, name in enumerate(each.strip() for each in into.strip("{}").split(",")):
                self._put(name, lanes, (value >> value.dtype.type(place * 4 * width)).astype(f"u{width // 2}"))
        elif source[0] == "{":
            low, high = (self._get(each.strip(), lanes, width // 2) for each in source.strip("{}").split(","))
            wide = np.dtype(f"u{width}").type
            self._put(into, lanes, low.astype(wide) | high.astype(wide) << wide(4 * width))
        else:
            self._put(into, lanes, self._get(source, lanes, width))

    def _convert(self, parts: list[str], operands: list[str], lanes: Array) -> None:
        into, source = parts[-2], parts[-1]
        value = self._get(operands[1], lanes, _width(source)).view(_type(source))
        if source == "f32" and "ftz" in parts:
            value = _flush(value)
        rounding: dict[str, Callable[[Array], Array]] = {
            "rpi": np.ceil, "rmi": np.floor, "rzi": np.trunc, "rni": np.rint,
        }  # fmt: skip
        for name, function in rounding.items():
            if name in parts:
                value = function(value)
        if source[0] == "f" and into[0] != "f":
            limits = np.iinfo(_type(into))
            value = np.clip(np.nan_to_num(value.astype(np.float64), nan=0.0), limits.min, limits.max)
        self._put(operands[0], lanes, value.astype(_type(into)).view(f"u{_width(into)}"))

    def _shuffle(self, parts: list[str], operands: list[str], lanes: Array) -> None:
        given, other = self._get(operands[1], lanes, 4), self._get(operands[2], lanes, 4).astype(I64)
        value, active = np.zeros(self.count, U32), np.zeros(self.count, bool)
        value[lanes], active[lanes] = given, True
        source = lanes // WARP * WARP + (lanes % WARP ^ other if parts[2] == "bfly" else other % WARP)
        if parts[2] not in ("bfly", "idx") or not active[source].all():
            raise FaultError("unknown shuffle, or one from a thread that is elsewhere")
        self._put(operands[0], lanes, value[source])

    def _compare(self, parts: list[str], operands: list[str], lanes: Array) -> None:
        how, unit = parts[1], parts[-1]
        x, y = (self._get(each, lanes, _width(unit)).view(_type(unit)) for each in operands[1:3])
        unordered = how.endswith("u") and unit == "f32"
        how = how.removesuffix("u") if unordered else how
        nan = (np.isnan(x) | np.isnan(y)) if unit == "f32" else np.zeros(len(lanes), bool)
        self._put(operands[0], lanes, np.where(nan, unordered, COMPARE[how](x, y)))

    def _compute_floats(self, parts: list[str], operands: list[str], lanes: Array) -> None:
        x = [self._get(each, lanes, 4).view(F32) for each in operands[1:]]
        if "ftz" in parts:
            x = [_flush(each) for each in x]
        exact = [each.astype(np.float64) for each in x]
        functions: dict[str, Callable[[], Array]] = {
            "add": lambda: x[0] + x[1], "sub": lambda: x[0] - x[1], "mul": lambda: x[0] * x[1],
            "fma": lambda: exact[0] * exact[1] + exact[2], "mad": lambda: exact[0] * exact[1] + exact[2],
            "div": lambda: x[0] / x[1], "min": lambda: np.fmin(x[0], x[1]), "max": lambda: np.fmax(x[0], x[1]),
            "neg": lambda: -x[0], "abs": lambda: np.abs(x[0]), "sqrt": lambda: np.sqrt(x[0]),
            "ex2": lambda: np.exp2(exact[0]), "rcp": lambda: 1 / x[0],
        }  # fmt: skip
        if parts[0] not in functions:
            raise FaultError("unknown instruction")
        result = functions[parts[0]]().astype(F32)
        self._put(operands[0], lanes, (_flush(result) if "ftz" in parts else result).view(U32))

    def _compute_integers(self, parts: list[str], operands: list[str], lanes: Array) -> None:
        kind, unit = parts[0], parts[-1]
        if unit == "pred":
            x = [self.registers[each][lanes] for each in operands[1:]]
            logic = {"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor, "not": np.logical_not}
            self._put(operands[0], lanes, logic[kind](*x))
            return
        width, signed = _width(unit), unit[0] == "s"
        if (kind in ("mul", "mad") and ("wide" in parts or "hi" in parts or "cc" in parts)) or kind == "madc":
            self._multiply_wide(parts, operands, lanes)
            return
        if kind in ("shl", "shr"):
            value, by = self._get(operands[1], lanes, width), self._get(operands[2], lanes, 4).astype(I64)
            by = np.minimum(by, 8 * width)
            far, by = by >= 8 * width, np.minimum(by, 8 * width - 1)
            kept = value.view(f"i{width}") if signed and kind == "shr" else value
            by = by.astype(kept.dtype)
            moved = kept << by if kind == "shl" else kept >> by
            zero = np.zeros_like(moved) if not signed else np.where(kept < 0, -1, 0).astype(moved.dtype)
            self._put(operands[0], lanes, np.where(far, zero, moved).astype(kept.dtype).view(f"u{width}"))
            return
        x = [self._get(each, lanes, width) for each in operands[1:]]
        s = [each.view(f"i{width}") for each in x]
        y = s if signed else x
        wide = [each.astype(U64) for each in x]
        functions: dict[str, Callable[[], Array]] = {
            "add": lambda: x[0] + x[1], "sub": lambda: x[0] - x[1], "mul": lambda: x[0] * x[1],
            "mad": lambda: x[0] * x[1] + x[2], "neg": lambda: -s[0], "abs": lambda: np.abs(s[0]),
            "min": lambda: np.minimum(*y), "max": lambda: np.maximum(*y),
            "and": lambda: x[0] & x[1], "or": lambda: x[0] | x[1], "xor": lambda: x[0] ^ x[1], "not": lambda: ~x[0],
            "div": lambda: _divide(y)[0], "rem": lambda: _divide(y)[1],
            "bfe": lambda: wide[0] >> wide[1] & (U64(1) << wide[2]) - U64(1),
            "shf": lambda: _funnel(wide, parts[1] == "l"),
            "popc": lambda: np.array([int(each).bit_count() for each in x[0]]),
        }  # fmt: skip
        if kind not in functions:
            raise FaultError("unknown instruction")
        result = functions[kind]()
        self._put(
            operands[0],
            lanes,
            result.astype(f"i{width}" if result.dtype.kind == "i" else f"u{width}").view(f"u{width}"),
        )

    def _multiply_wide(self, parts: list[str], operands: list[str], lanes: Array) -> None:
        signed = parts[-1][0] == "s"
        x, y = (self._get(each, lanes, 4).view(I32 if signed else U32).astype(I64) for each in operands[1:3])
        product = (x * y).view(U64) if signed else x.view(U64) * y.view(U64)
        if "wide" in parts:
            third = self._get(operands[3], lanes, 8) if parts[0] == "mad" else U64(0)
            self._put(operands[0], lanes, product + third)
        elif "cc" in parts:
            total = (product & U64(0xFFFFFFFF)) + self._get(operands[3], lanes, 4).astype(U64)
            self.carry[lanes] = total >> U64(32)
            self._put(operands[0], lanes, total.astype(U32))
        else:
            high = product.view(I64) >> 32 if signed else product >> U64(32)
            if parts[0] == "madc":
                high = high + self._get(operands[3], lanes, 4).astype(U64) + self.carry[lanes]
            self._put(operands[0], lanes, high.astype(U64).astype(U32))


def _width(unit: str) -> int:
    return int(unit[1:]) // 8


def _type(unit: str) -> str:
    return {"f": "f", "s": "i", "u": "u", "b": "u"}[unit[0]] + str(_width(unit))


def _flush(value: Array) -> Array:
    return np.where(np.abs(value) < SMALLEST, np.copysign(F32(0), value), value).astype(F32)


def _divide(operands: list[Array]) -> tuple[Array, Array]:
    """Return quotients, rounded towards zero, and rests."""
    if (operands[1] == 0).any():
        raise FaultError("division by zero")
    x, y = (each.astype(I64) for each in operands)
    quotient = np.abs(x) // np.abs(y) * np.sign(x) * np.sign(y)
    return quotient, x - quotient * y


def _funnel(operands: list[Array], left: bool) -> Array:
    """Shift a pair of words as one."""
    pair, by = operands[0] | operands[1] << U64(32), operands[2] & U64(31)
    return (pair << by) >> U64(32) if left else pair >> by
