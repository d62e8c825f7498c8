"""What a pickled annotation may consist of: its values, its keys, its size.

The few functions that data needs to be called (sets, bytes, numpy arrays) have stand-ins here that
check what they are given before anything is allocated.
"""

import re
from collections.abc import Callable, Iterable
from itertools import chain
from math import prod
from typing import Any, Protocol

import numpy as np

MAX_DEPTH = 64
# Python turns longer integers into text only on request, so nothing downstream expects them.
MAX_BITS = 1024
PLAIN = {
    (module, name): name
    for module in ('builtins', '__builtin__')
    for name in ('set', 'frozenset', 'bytes', 'bytearray')
} | {('_codecs', 'encode'): 'encode'}
ARRAYS = {
    ('numpy', 'ndarray'): 'ndarray',
    ('numpy', 'dtype'): 'dtype',
    **{
        (f'numpy.{core}.{module}', name): name
        for core in ('core', '_core')
        for module, name in (
            ('multiarray', '_reconstruct'),
            ('multiarray', 'scalar'),
            ('numeric', '_frombuffer'),
        )
    },
}
# Kind and bytes (characters for U) of an item; a size of zero would make any shape fit no bytes.
DTYPE = re.compile(r'(?:[biufc](?:1|2|4|8|16)|O8?|[SU][1-9]\d{0,5})\Z')

FLAT_KEYS = (str, int, float, bool, type(None), bytes)


class Refusal(Exception):
    """Why a pickle is not read, in words for the user."""


class Meter(Protocol):
    """What counts the memory that a pickle takes."""

    def charge(self, cost: int) -> None:
        """Count bytes that an instruction allocates."""

    def charge_copy(self, count: int) -> None:
        """Count bytes that an instruction copies."""


class Name(str):
    """What a pickle gets when it names a function or class: its name."""


class DType:
    """A numpy dtype that is being described."""

    def __init__(self, code: str) -> None:
        if not DTYPE.match(code):
            raise Refusal(f'arrays of {code[:20]!r} are not read')
        self.code, self.order = code, '='

    def resolve(self) -> np.dtype:
        """Give the dtype, in the byte order of the file."""
        return np.dtype(self.order + self.code)


def hashable(key: Any) -> Any:
    """Let through as a key what hashes at once: nested tuples and huge numbers can take for ever.

    Integers are below 2**60, where no two have the same hash.
    """
    kind = type(key)
    if kind is str or kind in FLAT_KEYS and (kind is not int or key.bit_length() <= 60):
        return key
    if kind is tuple and len(key) <= 16 and not any(type(part) is tuple for part in key):
        for part in key:
            hashable(part)
        return key
    if isinstance(key, np.generic):
        return key
    raise Refusal(f'holds a key ({kind.__name__}) that annotations never have')


def _encode(meter: Meter, text: Any, encoding: Any = 'latin1') -> bytes:
    if type(text) is not str or encoding not in ('latin1', 'latin-1'):
        raise Refusal('encodes something other than bytes')
    meter.charge_copy(len(text))
    return text.encode('latin1')


def _bytes(meter: Meter, *arguments: Any) -> bytes:
    # Python 2 protocols write empty bytes as a call without arguments; bytes(n) would allocate n
    if arguments:
        raise Refusal('makes bytes in a way that pickle does not')
    return b''


def _bytearray(meter: Meter, data: Any = b'', encoding: Any = None) -> bytearray:
    content = _encode(meter, data, encoding) if isinstance(data, str) else data
    if type(content) is not bytes:
        raise Refusal('makes bytes in a way that pickle does not')
    meter.charge_copy(len(content))
    return bytearray(content)


def _set(meter: Meter, items: Any = ()) -> set:
    if type(items) is not list:
        raise Refusal('makes a set of something other than a list')
    meter.charge(72 * len(items))
    return set(map(hashable, items))


def _count(shape: Any) -> int:
    if type(shape) is not tuple or not all(type(n) is int and 0 <= n < 2**40 for n in shape):
        raise Refusal('an array has an impossible shape')
    return prod(shape)


def _dtype(value: Any) -> np.dtype:
    if type(value) is not DType:
        raise Refusal('an array has no valid dtype')
    return value.resolve()


def _empty_array(meter: Meter, kind: Any, shape: Any, code: Any) -> np.ndarray:
    if kind != 'ndarray' or shape != (0,):
        raise Refusal('an array begins with a shape')
    return np.empty(0, np.int8)


def _scalar(meter: Meter, dtype: Any, data: Any) -> Any:
    kind = _dtype(dtype)
    data = data.encode('latin1') if isinstance(data, str) else data
    if kind.hasobject or type(data) is not bytes or len(data) != kind.itemsize:
        raise Refusal('a number of numpy does not have its bytes')
    meter.charge_copy(len(data))
    return np.frombuffer(data, kind)[0]


def _from_buffer(meter: Meter, data: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    kind = _dtype(dtype)
    if kind.hasobject or type(data) not in (bytes, bytearray):
        raise Refusal('an array does not have its bytes')
    if len(data) != _count(shape) * kind.itemsize or order not in ('C', 'F'):
        raise Refusal('an array has another shape than its bytes')
    meter.charge_copy(len(data))
    return np.frombuffer(bytearray(data), kind).reshape(shape, order=order)


BUILD: dict[str, Callable[..., Any]] = {
    'set': _set,
    'frozenset': lambda meter, items=(): frozenset(_set(meter, items)),
    'bytes': _bytes,
    'bytearray': _bytearray,
    'encode': _encode,
    'dtype': lambda meter, code, *_: DType(code),
    '_reconstruct': _empty_array,
    'scalar': _scalar,
    '_frombuffer': _from_buffer,
}


def fill_array(
    meter: Meter, array: np.ndarray, version: int, shape: Any, dtype: Any, fortran: Any, data: Any
) -> None:
    """Give an array its shape, kind and contents, as its pickled state has them.

    Raises:
        Refusal: the contents are not those of such an array.
    """
    kind = _dtype(dtype)
    count = _count(shape)
    if kind.hasobject:
        if type(data) is not list or len(data) != count:
            raise Refusal(f'an array of {count:,} objects has other contents')
        meter.charge(16 * count)
    else:
        # Python 2 wrote the bytes as a string
        data = data.encode('latin1') if isinstance(data, str) else data
        if type(data) is not bytes or len(data) != count * kind.itemsize:
            raise Refusal(f'an array of {count:,} numbers does not have their bytes')
        meter.charge_copy(len(data))
    array.__setstate__((1, shape, kind, np.bool(fortran), data))


# Characters of a value as JSON, roughly; a container has those of what it holds.
_LEAVES: dict[type, Callable[[Any], int]] = {
    str: lambda value: len(value) + 4,
    bytes: len,
    bytearray: len,
    float: lambda value: 20,
    bool: lambda value: 7,
    type(None): lambda value: 6,
}


def measure(node: Any, level: int, done: dict[int, tuple[int, int]], limit: int) -> None:
    """Note size and height of a container in ``done``, and refuse what is no data.

    Each container is visited once, however often it is referred to: linear in what is in memory,
    where a walk could take for ever. A container within itself exceeds the depth.

    Args:
        node: the container.
        level: how many containers it is in.
        done: id of a container -> (characters as JSON, levels within); filled here.
        limit: how many characters are too many.

    Raises:
        Refusal: too large, too deep, or a value that is no data.
    """
    size, height = 2, 1
    if level > MAX_DEPTH:
        raise Refusal(f'is nested more than {MAX_DEPTH} levels deep, or contains itself')
    for part in _parts(node):
        kind = type(part)
        if kind in _LEAVES:
            size += _LEAVES[kind](part)
        elif kind is int:
            if part.bit_length() > MAX_BITS:
                raise Refusal(f'holds an integer of more than {MAX_BITS} bits')
            size += 4 + part.bit_length() // 3
        elif isinstance(part, np.generic) or kind is np.ndarray and not part.dtype.hasobject:
            size += 2 + part.nbytes
        else:
            if id(part) not in done:
                measure(part, level + 1, done, limit)
            size += done[id(part)][0]
            height = max(height, 1 + done[id(part)][1])
    if size > limit:
        raise Refusal(f'would be more than {limit:,} bytes when it is written out')
    if level + height > MAX_DEPTH + 1:
        raise Refusal(f'is nested more than {MAX_DEPTH} levels deep')
    done[id(node)] = size, height


def _parts(node: Any) -> Iterable[Any]:
    kind = type(node)
    if kind is dict:
        return chain(node, node.values())
    if kind in (list, tuple, set, frozenset):
        return node
    if kind is np.ndarray:
        return node.ravel().tolist()
    raise Refusal(f'holds a {kind.__name__.strip("_")} where data is expected')
