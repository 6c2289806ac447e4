"""Parses the text of a compiled program: collectives with their bytes, and FLOPs of products by precision."""

import dataclasses
import math
import re

KINDS = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "ragged-all-to-all",
    "collective-permute",
    "collective-broadcast",
)

_ARRAY = re.compile(r"\b(pred|[a-z]+\d+\w*)\[([\d,<=]*)\]")
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.\-]+) = (.*)$")
_COLLECTIVE = re.compile(rf"(?<![\w.\-%])({'|'.join(KINDS)})(-start)?\(")
_PRODUCT = re.compile(r"(?<![\w.\-%])(convolution|dot)\(([^)]*)\)")
_OPERAND = re.compile(r"(?:^|[ ,])%?([A-Za-z_][\w.\-]*)(?=,|$)")
_CALLED = re.compile(r"\b(?:calls|to_apply|body|condition)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"\bbranch_computations=\{([^}]*)\}")
_LIMIT = re.compile(r" s32\[\]\S* constant\((\d+)\)")
_TPU_ASYNCHRONOUS = "async_collective_name="
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')


@dataclasses.dataclass(frozen=True, kw_only=True)
class HloArray:
    """Type and shape of an array: float32 `[3, 3, 32, 64]` is ("f32", (3, 3, 32, 64))."""

    type: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Size in bytes, without the padding of its layout."""
        bits = 8 if self.type == "pred" else int(re.sub(r"^\D+(\d+).*$", r"\1", self.type))
        return math.ceil(math.prod(self.shape) * bits / 8)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Collective:
    """One operation between devices.

    Attributes:
      kind: of `KINDS`.
      arrays: whole arrays on one device: the sum of an all-reduce, the output of an all-gather, the input of
        a reduce-scatter.
      group: number of devices that take part together; 0 means all.
      asynchronous: other work may run at the same time.
      times: runs per step, by the trip counts of the loops around it.
      operation: its origin, such as "jit(train_step)/…/reduce_sum".
    """

    kind: str
    arrays: tuple[HloArray, ...]
    group: int
    asynchronous: bool
    times: int = 1
    operation: str = ""

    @property
    def bytes(self) -> int:
        """Size in bytes of all its arrays, for one run."""
        return sum(array.bytes for array in self.arrays)


def collectives(text: str) -> list[Collective]:
    """Returns the collectives of an optimized HLO module (`compiled.as_text()`), in order.

    An asynchronous collective counts once, at its start. A TPU's fused all-reduce and slice counts as a
    reduce-scatter.
    """
    module = _Module(text)
    found = []
    for computation, _, body in module.instructions:
        operation = _COLLECTIVE.search(body)
        if operation is None or '"' in body[: operation.start()]:
            continue
        kind, started = operation[1], bool(operation[2])
        arrays = _arrays(body[: operation.start()])
        if started and kind == "all-gather":
            arrays = arrays[len(arrays) // 2 :]  # (operands, results)
        elif started and kind == "collective-permute":
            arrays = arrays[1:2]  # (operand, result, context)
        group = _group(body)
        if kind == "reduce-scatter" and group:
            arrays = tuple(HloArray(type=a.type, shape=(group, *a.shape)) for a in arrays)
        if kind == "all-reduce" and computation.startswith("all-reduce-scatter"):
            kind = "reduce-scatter"
        name = re.search(r'op_name="([^"]*)"', body)
        found.append(
            Collective(
                kind=kind,
                arrays=arrays,
                group=group,
                asynchronous=started or computation in module.asynchronous or _TPU_ASYNCHRONOUS in body,
                times=module.times(computation),
                operation=name[1] if name else "",
            )
        )
    return found


def product_flops(text: str) -> dict[str, float]:
    """Returns the FLOPs of matrix products and convolutions by precision: "default", "high", "highest".

    Every multiplication counts two FLOPs, also with the padding of a convolution. The body of a loop counts
    as often as it runs, if that number is known.
    """
    module = _Module(text)
    shapes = {}
    for _, result, body in module.instructions:
        if arrays := _arrays(body.split("(", 1)[0]) or _arrays(body)[:1]:
            shapes[result] = arrays[0].shape
    flops: dict[str, float] = {"default": 0.0, "high": 0.0, "highest": 0.0}
    for computation, result, body in module.instructions:
        product = _PRODUCT.search(body)
        operands = _OPERAND.findall(product[2]) if product else []
        if product is None or len(operands) != 2 or not all(name in shapes for name in operands):
            continue
        left, right = (shapes[name] for name in operands)
        terms = _convolution_terms(body, right) if product[1] == "convolution" else _dot_terms(body, left)
        precision = re.search(r"operand_precision=\{(\w+),", body)
        name = precision[1] if precision else "default"
        if name in flops:
            flops[name] += 2 * math.prod(shapes[result]) * terms * module.times(computation)
    return flops


def _convolution_terms(line: str, kernel: tuple[int, ...]) -> float:
    """Returns the number of products per number of the result."""
    labels = re.search(r"dim_labels=\w+_(\w+)->", line)
    outputs = kernel[labels[1].index("o")] if labels and "o" in labels[1] else 1
    return math.prod(kernel) / max(outputs, 1)


def _dot_terms(line: str, left: tuple[int, ...]) -> float:
    summed = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", line)
    return math.prod(left[int(axis)] for axis in summed[1].split(",") if axis) if summed else 1


def _arrays(text: str) -> tuple[HloArray, ...]:
    return tuple(
        HloArray(type=kind, shape=tuple(int(re.sub(r"\D", "", size)) for size in sizes.split(",") if size))
        for kind, sizes in _ARRAY.findall(text)
    )


def _group(line: str) -> int:
    """Returns the devices per group; 0 if the text has no groups, which means all."""
    if listed := re.search(r"replica_groups=\{\{([\d,]+)\}", line):
        return listed[1].count(",") + 1
    if iota := re.search(r"replica_groups=\[([\d,]+)\]<=", line):
        return int(iota[1].split(",")[-1])
    if mesh := re.search(r"replica_groups=mesh\[([^\]]*)\]\s*\{([^}]*)\}", line):
        sizes = dict(re.findall(r"'([^']+)'=(\d+)", mesh[1]))
        used = re.findall(r"'([^']+)'(?::\(\d+\)(\d+))?", mesh[2])
        return math.prod(int(part or sizes.get(axis, 1)) for axis, part in used)
    return 0


class _Module:
    """The instructions of a module, and the number of runs of each computation.

    Attributes:
      instructions: the computation, name and text of each, in order.
      asynchronous: computations during which other work may run.
    """

    def __init__(self, text: str) -> None:
        self.instructions: list[tuple[str, str, str]] = []
        self._callers: dict[str, tuple[str, str]] = {}
        self.asynchronous: set[str] = set()
        self._limits: dict[str, list[int]] = {}
        computation = ""
        for line in text.splitlines():
            if header := _COMPUTATION.match(line):
                computation = header[2]
                continue
            if " = " not in line:
                continue
            if instruction := _INSTRUCTION.match(line):
                self.instructions.append((computation, instruction[1], instruction[2]))
            if limit := _LIMIT.search(line):
                self._limits.setdefault(computation, []).append(int(limit[1]))
            called = _CALLED.findall(line)
            for branches in _BRANCHES.findall(line):
                called += [name.strip().lstrip("%") for name in branches.split(",")]
            for name in called:
                self._callers.setdefault(name, (computation, line))
                if " async-start(" in line:
                    self.asynchronous.add(name)

    def times(self, computation: str) -> int:
        """Returns the number of runs of a computation per run of the program."""
        count, seen = 1, set()
        while computation in self._callers and computation not in seen:
            seen.add(computation)
            computation, line = self._callers[computation]
            count *= self._trips(line)
        return count

    def _trips(self, line: str) -> int:
        """Returns the number of runs of what an instruction calls; 1 if it is unknown."""
        if " while(" not in line:
            return 1
        if known := _TRIPS.search(line):
            return int(known[1])
        # The TPU compiler omits the trip count. A scan counts from 0 to the only number in its condition.
        condition = re.search(r"\bcondition=%?([\w.\-]+)", line)
        limits = self._limits.get(condition[1], []) if condition else []
        return limits[0] if len(limits) == 1 else 1
