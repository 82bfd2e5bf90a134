"""The cdb codec: what is written is found, and no file, however broken, does more than raise CdbError."""

from __future__ import annotations

import mmap
import os
import struct
from functools import partial
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucspi_env.tools._cdb import HEADER_SIZE, MAX_SIZE, CdbError, Reader, Writer, dumps, hash_many, hash_one

if TYPE_CHECKING:
    from pathlib import Path

KEYS = st.binary(max_size=12)
RECORDS = st.lists(st.tuples(KEYS, st.binary(max_size=20)), max_size=60)


def test_hash_is_the_published_one() -> None:
    assert hash_one(b"") == 5381
    number = 5381
    for byte in b"one":
        number = ((number << 5) + number & 0xFFFFFFFF) ^ byte
    assert hash_one(b"one") == number


@given(st.lists(st.binary(max_size=40), max_size=200))
def test_many_hashes_are_the_hashes_of_each(keys: list[bytes]) -> None:
    assert hash_many(keys) == [hash_one(key) for key in keys]


def test_many_hashes_of_one_length_do_not_spill_between_lanes() -> None:
    keys = [bytes([255 - index % 7]) * 16 for index in range(1000)]

    assert hash_many(keys) == [hash_one(key) for key in keys]


@given(RECORDS, KEYS)
def test_the_first_record_of_each_key_is_found_and_others_are_not(
    records: list[tuple[bytes, bytes]], other: bytes
) -> None:
    reader = Reader.over(dumps(records))
    first: dict[bytes, bytes] = {}
    for key, data in records:
        first.setdefault(key, data)

    assert {key: reader.find(key) for key in first} == first
    assert reader.find(other) == first.get(other)


def test_every_key_of_a_large_file_is_found_whatever_was_asked_before() -> None:
    records = [(b"2001:db8:%x:" % number, b"%d" % number) for number in range(3000)]
    reader = Reader.over(bytearray(dumps(records)))

    for key, data in reversed(records):
        assert reader.find(key) == data
        assert reader.find(key + b":") is None
        assert reader.find(key[:-2]) is None


def test_a_mapped_file_is_a_buffer_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "r.cdb").write_bytes(dumps([(b"key", b"data")]))
    with (tmp_path / "r.cdb").open("rb") as file:
        mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

        assert Reader.over(mapping).find(b"key") == b"data"


def test_an_empty_file_of_2048_zero_bytes_is_a_sound_one() -> None:
    assert Reader.over(bytes(HEADER_SIZE)).find(b"x") is None


@given(st.integers(0, HEADER_SIZE - 1))
def test_less_than_a_header_is_an_error(size: int) -> None:
    with pytest.raises(CdbError, match="ends before byte 2048"):
        Reader.over(bytes(size))


SOUND = dumps([(b"key %d" % number, b"data" * (number % 5)) for number in range(100)])


def answers(file: bytes) -> None:
    """Each look-up answers or raises CdbError; what it asks of the file is never negative nor longer than the file."""

    def read(length: int, position: int) -> bytes:
        assert length >= 0
        assert 0 <= position <= MAX_SIZE + 8 + len(file)
        return file[position : position + length]

    try:
        reader = Reader(read, len(file))
    except CdbError:
        return
    for number in range(0, 120, 3):
        try:
            data = reader.find(b"key %d" % number)
        except CdbError:
            continue
        assert data is None or len(data) < len(file)


@given(st.integers(0, len(SOUND)))
def test_a_truncated_file_answers_or_is_an_error(size: int) -> None:
    answers(SOUND[:size])


@given(st.lists(st.tuples(st.integers(0, len(SOUND) - 1), st.integers(0, 255)), min_size=1, max_size=40))
def test_a_damaged_file_answers_or_is_an_error(damages: list[tuple[int, int]]) -> None:
    file = bytearray(SOUND)
    for place, byte in damages:
        file[place] = byte
    answers(bytes(file))


@given(st.binary(min_size=HEADER_SIZE, max_size=HEADER_SIZE + 300))
def test_garbage_answers_or_is_an_error(file: bytes) -> None:
    answers(file)


def test_a_full_table_of_one_hash_ends_the_search() -> None:
    """A loop by design: every slot is taken and has the hash looked for, every record another key."""
    slots = 100_000
    number = hash_one(b"key")
    record = struct.pack("<II", 3, 0) + b"yek"
    table = struct.pack("<II", number, HEADER_SIZE) * slots
    header = struct.pack("<II", HEADER_SIZE + len(record), slots) * 256

    with pytest.raises(CdbError, match="no free slot"):
        Reader.over(header + record + table).find(b"key")


@pytest.mark.parametrize(
    ("header", "complaint"),
    [
        (struct.pack("<II", 0xFFFFFFFF, 1), "is not within"),
        (struct.pack("<II", 2048, 0xFFFFFFFF), "is not within"),
    ],
    ids=["position", "slots"],
)
def test_a_table_outside_the_file_is_an_error(header: bytes, complaint: str) -> None:
    with pytest.raises(CdbError, match=complaint):
        Reader.over(header * 256 + bytes(64)).find(b"key")


@pytest.mark.parametrize("record", [b"", b"\3\0\0", struct.pack("<II", 3, 0xFFFFFFFF) + b"key"])
def test_a_record_outside_the_file_is_an_error(record: bytes) -> None:
    table = struct.pack("<II", hash_one(b"key"), HEADER_SIZE + 8)
    header = struct.pack("<II", HEADER_SIZE, 1) * 256

    with pytest.raises(CdbError):
        Reader.over(header + table + record).find(b"key")


def test_a_file_that_shrinks_between_two_reads_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "r.cdb"
    file.write_bytes(SOUND)
    with file.open("rb+") as opened:
        reader = Reader(partial(os.pread, opened.fileno()), len(SOUND))
        assert reader.find(b"key 1") == b"data"
        opened.truncate(HEADER_SIZE)
        with pytest.raises(CdbError, match="ends before"):
            reader.find(b"key 1")


def test_records_beyond_2_gib_are_found(tmp_path: Path) -> None:
    """Positions are unsigned: a hole of 4 GiB less a little lies before the record."""
    record = struct.pack("<II", 3, 4) + b"key" + b"data"
    place = MAX_SIZE - 100
    slots = [bytes(8), bytes(8)]
    slots[(hash_one(b"key") >> 8) % 2] = struct.pack("<II", hash_one(b"key"), place)
    table = b"".join(slots)
    file = tmp_path / "huge.cdb"
    with file.open("wb+") as opened:
        opened.write(struct.pack("<II", place + len(record), 2) * 256)
        opened.seek(place)
        opened.write(record + table)
        opened.flush()
        reader = Reader(partial(os.pread, opened.fileno()), os.fstat(opened.fileno()).st_size)

        assert reader.find(b"key") == b"data"
        assert reader.find(b"yek") is None


def test_a_file_beyond_4_gib_is_refused() -> None:
    """The shared 64 MiB of data are counted 64 times and joined never: the check comes first."""
    data = bytes(1 << 26)

    with pytest.raises(CdbError, match="4 GiB"):
        Writer().records([b"key"] * 64, [data] * 64)


def test_tables_beyond_4_gib_are_refused() -> None:
    writer = Writer()
    writer.records([b"key"], [b""])
    writer._position = MAX_SIZE - 8

    with pytest.raises(CdbError, match="4 GiB"):
        list(writer.tables())


def test_portions_make_the_same_file_as_one_call() -> None:
    keys = [b"%d" % number for number in range(500)]
    writer = Writer()
    body = b"".join(
        writer.records(keys[start : start + 7], [b"x"] * len(keys[start : start + 7])) for start in range(0, 500, 7)
    )
    tables = b"".join(writer.tables())

    assert writer.header() + body + tables == dumps([(key, b"x") for key in keys])
