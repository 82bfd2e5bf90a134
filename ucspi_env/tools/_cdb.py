"""Constant databases: DJB's cdb format, read and written without any I/O of its own.

The format (https://cr.yp.to/cdb/cdb.txt, and byte for byte what ucspi-tcp's cdb_make writes): 2048 bytes of 256
pointers ``(position, slots)``, then the records ``(key length, data length, key, data)`` from 2048 on, then 256 hash
tables of ``(hash, record position)``. All numbers are 32 bits, little endian, which limits a file to 4 GiB.

Rule 1: nothing in a file is believed. Every position and length is checked against the size before it is followed, and
a search looks at no more slots than a sound table can have filled, so a damaged file is a `CdbError`: no hang, no
reading outside. Rule 2: hashing a million keys one byte at a time is what a writer in Python would spend its time on;
see `hash_many`.
"""

from __future__ import annotations

import sys
from array import array
from itertools import accumulate
from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from mmap import mmap

HEADER_SIZE = 2048
MAX_SIZE = 0xFFFFFFFF
_PAIR = Struct("<II")
_HASH_START = 5381
_MASK = 0xFFFFFFFF
_NOWHERE = bytes(4)
# One read that a probe of a half-full table rarely has to repeat.
_SLOTS_AT_ONCE = 8
_MANY_SLOTS_AT_ONCE = 4096


class CdbError(ValueError):
    """The file is not a sound cdb (reading), or would not fit into one (writing)."""


def hash_one(key: bytes) -> int:
    """The format's hash of one key."""
    number = _HASH_START
    for byte in key:
        number = (number * 33 & _MASK) ^ byte
    return number


def hash_many(keys: Sequence[bytes]) -> list[int]:
    """The hashes of many keys, several times as fast as one by one.

    Keys of one length are hashed together, a column of bytes at a time, in the lanes of one large integer: each lane
    has 64 bits for a 32-bit hash, so that ``hash * 33`` cannot spill into its neighbour before it is masked.
    """
    by_length: dict[int, list[int]] = {}
    for index, key in enumerate(keys):
        try:
            by_length[len(key)].append(index)
        except KeyError:
            by_length[len(key)] = [index]
    hashes = [_HASH_START] * len(keys)
    for length, indices in by_length.items():
        lanes = len(indices)
        if lanes < 8:  # too few to share the work
            for index in indices:
                hashes[index] = hash_one(keys[index])
            continue
        text = b"".join([keys[index] for index in indices])
        mask = int.from_bytes(b"\xff\xff\xff\xff\0\0\0\0" * lanes, "little")
        state = int.from_bytes(_HASH_START.to_bytes(8, "little") * lanes, "little")
        column = bytearray(8 * lanes)
        for offset in range(length):
            column[::8] = text[offset::length]
            state = (state * 33 & mask) ^ int.from_bytes(column, "little")
        words = array("Q", state.to_bytes(8 * lanes, "little"))
        if sys.byteorder == "big":
            words.byteswap()
        if lanes == len(keys):
            return words.tolist()
        for index, number in zip(indices, words, strict=True):
            hashes[index] = number
    return hashes


class Reader:
    """Finds keys in a cdb.

    Args:
        read: ``read(length, position)`` gives that many bytes of the file, fewer only where the file ends: `os.pread`
            without its first argument.
        size: the file's size in bytes.

    Raises:
        CdbError: the file is too short to be a cdb.
        OSError: ``read`` failed.
    """

    __slots__ = ("_hashed", "_header", "_read", "_size", "_states")

    def __init__(self, read: Callable[[int, int], bytes], size: int) -> None:
        self._read = read
        self._size = size
        self._hashed = b""
        self._states = [_HASH_START]
        self._header = read(HEADER_SIZE, 0)
        if len(self._header) < HEADER_SIZE:
            raise _cut_short(HEADER_SIZE)

    @classmethod
    def over(cls, buffer: bytes | bytearray | memoryview | mmap) -> Reader:
        """A reader of something in memory: bytes, an mmap."""
        view = memoryview(buffer).cast("B")
        return cls(lambda length, position: bytes(view[position : position + length]), len(view))

    def find(self, key: bytes) -> bytes | None:
        """The data of the first record with this key, or None.

        Raises:
            CdbError: the search met something that no cdb has.
            OSError: reading failed.
        """
        if key.endswith(b":"):
            number = self._hash_prefix(key)
        else:
            number = _HASH_START
            for byte in key:
                number = (number * 33 & _MASK) ^ byte
        table, slots = _PAIR.unpack_from(self._header, (number & 0xFF) << 3)
        if not slots:
            return None
        if table + 8 * slots > self._size:
            raise CdbError(f"a hash table of {slots} slots at byte {table} is not within {self._size} bytes")
        slot = (number >> 8) % slots
        chunk = self._read(8 * _SLOTS_AT_ONCE, table + 8 * slot)
        if chunk[4:8] == _NOWHERE:  # the usual answer: there is no such key
            return None
        # A writer fills at most half of a table; a fuller one would be searched for ever, or nearly.
        left = slots // 2 + 1
        count = min(_SLOTS_AT_ONCE, slots - slot)
        while True:
            if len(chunk) != 8 * count:
                chunk = chunk[: 8 * count]
                if len(chunk) < 8 * count:
                    raise _cut_short(table + 8 * (slot + count))
            for found, position in _PAIR.iter_unpack(chunk):
                if not position:
                    return None
                if found == number:
                    data = self._data_if(key, position)
                    if data is not None:
                        return data
            left -= count
            if left <= 0:
                raise CdbError(f"the hash table at byte {table} has no free slot where there must be one")
            slot = (slot + count) % slots
            count = min(_MANY_SLOTS_AT_ONCE, slots - slot)
            chunk = self._read(8 * count, table + 8 * slot)

    def _hash_prefix(self, key: bytes) -> int:
        """The hash of a key that ends in a colon. A search asks for ever shorter ones, which need no new beginning."""
        if not self._hashed.startswith(key[:-1]):
            number = _HASH_START
            self._states = [number]
            for byte in key:
                number = (number * 33 & _MASK) ^ byte
                self._states.append(number)
            self._hashed = key
        return (self._states[len(key) - 1] * 33 & _MASK) ^ key[-1]

    def _data_if(self, key: bytes, position: int) -> bytes | None:
        """The data of the record at ``position`` if its key is this one."""
        head = self._read(8 + len(key), position)
        if len(head) < 8:
            raise _cut_short(position + 8)
        key_length, data_length = _PAIR.unpack_from(head)
        end = position + 8 + key_length + data_length
        if end > self._size:
            raise CdbError(f"the record at byte {position} is not within {self._size} bytes")
        if key_length != len(key) or head[8:] != key:
            return None
        data = self._read(data_length, end - data_length)
        if len(data) < data_length:
            raise _cut_short(end)
        return data


def _cut_short(end: int) -> CdbError:
    return CdbError(f"the file ends before byte {end}")


class Writer:
    """Builds a cdb: take `records`, then `tables`, to be written from byte 2048 on, and at last `header` for byte 0.

    Raises:
        CdbError: from any of them, when the file would pass 4 GiB.
    """

    def __init__(self) -> None:
        self._position = HEADER_SIZE
        self._entries: list[list[int]] = [[] for _ in range(256)]
        self._pointers: list[int] = []

    def records(self, keys: Sequence[bytes], datas: Sequence[bytes]) -> bytes:
        """The bytes of these records; records of one key are found in the order in which they came."""
        pack = _PAIR.pack
        key_lengths = list(map(len, keys))
        data_lengths = list(map(len, datas))
        lengths = list(zip(key_lengths, data_lengths, strict=True))
        heads = {pair: pack(*pair) for pair in set(lengths)}
        positions = list(accumulate([sum(pair) + 8 for pair in lengths], initial=self._position))
        self._advance(positions[-1] - self._position)
        entries = self._entries
        for number, position in zip(hash_many(keys), positions, strict=False):
            entries[number & 0xFF].append(position << 32 | number)
        return b"".join(
            [part for pair, key, data in zip(lengths, keys, datas, strict=True) for part in (heads[pair], key, data)]
        )

    def tables(self) -> Iterator[bytes]:
        """The bytes of the 256 hash tables, one at a time."""
        for entries in self._entries:
            self._pointers += (self._position, slots := 2 * len(entries))
            self._advance(8 * slots)
            table = array("Q", bytes(8 * slots))
            for entry in entries:
                slot = (entry >> 8 & 0xFFFFFF) % slots
                while table[slot]:
                    slot += 1
                    if slot == slots:
                        slot = 0
                table[slot] = entry
            if sys.byteorder == "big":
                table.byteswap()
            yield table.tobytes()

    def header(self) -> bytes:
        """The 2048 bytes for the file's beginning; the tables must have been taken."""
        return Struct("<512I").pack(*self._pointers)

    def _advance(self, length: int) -> None:
        if self._position + length > MAX_SIZE:
            raise CdbError("the file would be larger than 4 GiB, the limit of the format")
        self._position += length


def dumps(records: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A whole cdb as bytes."""
    pairs = list(records)
    writer = Writer()
    body = writer.records([key for key, _ in pairs], [data for _, data in pairs])
    tables = b"".join(writer.tables())
    return writer.header() + body + tables
