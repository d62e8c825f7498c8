"""Reading pickled annotations without running what is in them.

A pickle is a program for a stack machine. Its instructions that import and call are answered here
with inert names, of which a handful (sets, bytes, and numpy arrays where asked for) are known and
built by this module; no other name is ever looked up. What remains is memory and time, and both
are bounded: by the size of the file, the number of instructions, what they allocate, and what the
result would be when it is walked.
"""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np

from .pickle_values import ARRAYS, BUILD, PLAIN, DType, Name, Refusal, fill_array, hashable, measure

# What instructions may allocate: this, and a multiple of the file's size. Annotations of 38,000
# images as dictionaries of small numbers need a multiple of 10 (protocol 0) to 22 (protocol 4).
ALLOCATION = 32 << 20
ALLOCATION_PER_BYTE = 30


class PickleError(ValueError):
    """A pickled file asks for code, is damaged, or is larger than it looks."""


def read_pickle(
    path: str | os.PathLike,
    *,
    arrays: bool = False,
    max_bytes: int = 200 << 20,
    max_items: int = 20_000_000,
) -> Any:
    """Read a pickled file of any protocol, also one of Python 2, without running code in it.

    Args:
        path: the file. A leading ``~`` is expanded.
        arrays: also take numpy arrays and scalars (numbers, text, and objects that are plain).
        max_bytes: limit of the file, and of the result written as JSON, where what is shared
            counts as often as it is referred to.
        max_items: limit of the instructions in the file.

    Returns:
        Lists, dictionaries, tuples, sets, numbers, strings, bytes, booleans and None. Byte strings
        of Python 2 become text, read as latin-1.

    Raises:
        FileNotFoundError: there is no such file.
        PickleError: the file asks for anything else, is damaged or cut off, exceeds a limit, is
            nested deeper than 64 levels, or contains itself.
    """
    file = Path(path).expanduser()
    if not file.exists():
        raise FileNotFoundError(
            f'{file} does not exist.\n'
            f'What to do: check the path; relative paths start at {Path.cwd()}.'
        )
    if not file.is_file():
        raise PickleError(f'{file} is not a regular file.\nWhat to do: name the pickled file.')
    size = file.stat().st_size
    if size > max_bytes:
        raise PickleError(
            f'{file} has {size:,} bytes, more than the {max_bytes:,} that are read.\n'
            'What to do: check that it is the annotation file.'
        )
    with open(file, 'rb') as stream:
        source = _Source(stream, size, max_items)
        try:
            value = _Reader(source, arrays).load()
            measure([value], 0, {}, max_bytes)
        except OSError:
            raise
        # A hostile file can provoke nearly any error in the machine; each means the same refusal.
        except Exception as error:
            where = f'{file}, byte {source.position:,}'
            remedy = 'fetch the file again, or get it as JSON, which cannot hold code'
            raise PickleError(f'{where}: {_reason(error)}.\nWhat to do: {remedy}.') from None
    return value


def _reason(error: Exception) -> str:
    if isinstance(error, Refusal):
        return str(error)
    if isinstance(error, KeyError):
        return 'no pickle, or damaged: unknown instruction'
    return f'damaged ({type(error).__name__}: {" ".join(str(error)[:120].split())})'


class _Source:
    """The file as the machine reads it: no further than its end, and not for ever."""

    def __init__(self, stream: IO[bytes], size: int, instructions: int) -> None:
        self._stream = stream
        self._reads = 3 * instructions
        self.size = size
        self.position = 0

    def read(self, count: int) -> bytes:
        # Before the read: a lying length must not allocate.
        end = self.position + count
        self._reads -= 1
        if end > self.size or self._reads < 0:
            self._refuse(end)
        self.position = end
        return self._stream.read(count)

    def readline(self) -> bytes:
        line = self._stream.readline()
        self._reads -= 1
        if not line.endswith(b'\n') or self._reads < 0:
            self._refuse(self.size + 1)
        self.position += len(line)
        return line

    def _refuse(self, end: int) -> None:
        if self._reads < 0:
            raise Refusal('more instructions than an annotation file needs')
        raise Refusal(f'truncated: {self.size:,} of at least {end:,} bytes')


# The library's C machine allocates by the numbers in the file; this one keeps its memo in a
# dictionary, and its instructions can be replaced one by one.
class _Reader(pickle._Unpickler):
    """The standard library's machine without import, call and unchecked allocation."""

    dispatch: ClassVar[dict[int, Any]]
    # what the library's machine has, and its type stubs lack
    stack: list[Any]
    append: Callable[[Any], None]
    read: Callable[[int], bytes]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, source: _Source, arrays: bool) -> None:
        super().__init__(source, encoding='latin1')
        self._names = {**PLAIN, **ARRAYS} if arrays else PLAIN
        self._room = ALLOCATION + ALLOCATION_PER_BYTE * source.size
        # an array of an old protocol: from text to bytes, from bytes to array
        self._copies = 2 * source.size

    def find_class(self, module: str, name: str) -> Name:
        """Give the inert name of what is known, and refuse everything else.

        Raises:
            Refusal: the name is none that data needs.
        """
        if (module, name) not in self._names:
            # quoted by repr: a name may hold line breaks
            full = f'{module}.{name}'[:80]
            hint = ' (numpy arrays are not read here)' if (module, name) in ARRAYS else ''
            raise Refusal(f'asks for {full!r}, which is code and not data{hint}')
        return Name(self._names[module, name])

    def persistent_load(self, pid: Any) -> Any:
        """Refuse objects that are stored elsewhere."""
        raise Refusal('refers to objects outside the file')

    def get_extension(self, code: int) -> None:
        """Refuse classes that are named by a number of this process."""
        raise Refusal(f'asks for the registered class {code}, which is code and not data')

    def charge(self, cost: int) -> None:
        """Count what an instruction allocates."""
        self._room -= cost
        if self._room < 0:
            raise Refusal('would take far more memory than its size explains')

    def charge_copy(self, count: int) -> None:
        """Count bytes that an instruction copies, which the file holds once at least."""
        self._copies -= count
        if self._copies < 0:
            raise Refusal('copies its contents more often than data does')

    def load_frame(self) -> None:
        """Read the frame's length and go on in the file: a frame need not be held in memory."""
        self.read(8)

    def load_bytearray8(self) -> None:
        """Read, then allocate; the library does it the other way round."""
        self.append(bytearray(self.read(int.from_bytes(self.read(8), 'little'))))

    def load_setitem(self) -> None:
        """Set one entry of a dictionary."""
        key, value = self.stack[-2:]
        del self.stack[-2:]
        self._target(dict)[hashable(key)] = value

    def load_setitems(self) -> None:
        """Set entries of a dictionary."""
        items = self.pop_mark()
        target = self._target(dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[hashable(key)] = value

    def load_dict(self) -> None:
        """Make a dictionary of what lies on the stack."""
        items = self.pop_mark()
        pairs = zip(items[::2], items[1::2], strict=True)
        self.append({hashable(key): value for key, value in pairs})

    def load_append(self) -> None:
        """Append one value to a list."""
        value = self.stack.pop()
        self._target(list).append(value)

    def load_appends(self) -> None:
        """Append values to a list."""
        items = self.pop_mark()
        self._target(list).extend(items)

    def load_additems(self) -> None:
        """Add values to a set."""
        items = self.pop_mark()
        self._target(set).update(map(hashable, items))

    def load_frozenset(self) -> None:
        """Make a frozen set of what lies on the stack."""
        items = self.pop_mark()
        self.append(frozenset(map(hashable, items)))

    def load_reduce(self) -> None:
        """Build what one of the known names stands for."""
        arguments, name = self.stack.pop(), self.stack[-1]
        if type(name) is not Name or name not in BUILD or type(arguments) is not tuple:
            raise Refusal('calls something that is not a function')
        self.stack[-1] = BUILD[name](self, *arguments)

    def load_build(self) -> None:
        """Fill an array, or set the byte order of a dtype; nothing else has a state here."""
        state, target = self.stack.pop(), self.stack[-1]
        if type(target) is DType:
            if state[1] not in ('<', '>', '|', '=') or any(state[2:5]):
                raise Refusal('arrays of records are not read')
            target.order = state[1]
        elif type(target) is np.ndarray:
            fill_array(self, target, *state)
        else:
            raise Refusal('sets the state of something that has none')

    def _target(self, kind: type) -> Any:
        # Only the exact types: a set inside a key or an array is not to be changed from behind.
        if type(self.stack[-1]) is not kind:
            raise Refusal(f'fills {type(self.stack[-1]).__name__} as if it were {kind.__name__}')
        return self.stack[-1]


def _metered(cost: int, run: Callable[[_Reader], None]) -> Callable[[_Reader], None]:
    def metered(self: _Reader) -> None:
        self.charge(cost)
        run(self)

    return metered


def _instructions() -> dict[int, Callable[[_Reader], None]]:
    """The library's table with our methods, prices, and without what data never needs."""
    known = pickle._Unpickler.dispatch  # type: ignore[attr-defined]
    table = {code: getattr(_Reader, run.__name__) for code, run in known.items()}
    for name in ('NEXT_BUFFER', 'READONLY_BUFFER', 'OBJ', 'NEWOBJ', 'NEWOBJ_EX'):
        del table[getattr(pickle, name)[0]]
    # Bytes that CPython allocates for one or two bytes in the file.
    prices = {
        'EMPTY_SET FROZENSET': 224,
        'EMPTY_DICT DICT REDUCE': 200,
        'PUT BINPUT LONG_BINPUT MEMOIZE': 100,
        'EMPTY_LIST LIST MARK TUPLE TUPLE1 TUPLE2 TUPLE3': 72,
    }
    for names, cost in prices.items():
        for name in names.split():
            code = getattr(pickle, name)[0]
            table[code] = _metered(cost, table[code])
    return table


_Reader.dispatch = _instructions()
