"""Lines that someone else wrote: each fault is named with its line."""

import gzip

import pytest

from alpaca_lab import jsonl
from alpaca_lab.config import SettingError


def write(tmp_path, data, name="rows.jsonl"):
    path = tmp_path / name
    path.write_bytes(data)
    return path


def test_lines_come_with_their_numbers_and_blank_ones_are_passed_over(tmp_path):
    path = write(tmp_path, b'\xef\xbb\xbf{"a": 1}\r\n\n  \n[2]\n"\xe2\x80\xa8"')
    assert list(jsonl.read(path)) == [(1, {"a": 1}), (4, [2]), (5, "\u2028")]


def test_a_gzipped_file_reads_the_same(tmp_path):
    path = write(tmp_path, gzip.compress(b'{"a": 1}\n'), "rows.jsonl.gz")
    assert list(jsonl.read(path)) == [(1, {"a": 1})]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"a": 1}\n{"a": \n', "rows.jsonl:2 is not JSON"),
        (b'{"a": "\xff"}\n', "rows.jsonl:1 is not JSON"),
        (b"[" * 100_000, "rows.jsonl:1 is not JSON"),
    ],
)
def test_a_damaged_line_is_named(tmp_path, data, message):
    with pytest.raises(SettingError, match=message):
        list(jsonl.read(write(tmp_path, data)))


def test_a_file_that_is_not_what_its_name_says_is_named(tmp_path):
    with pytest.raises(SettingError, match="rows.jsonl.gz cannot be read: Not a gzipped file"):
        list(jsonl.read(write(tmp_path, b'{"a": 1}\n', "rows.jsonl.gz")))
    with pytest.raises(SettingError, match="no such file: .*nowhere.jsonl"):
        list(jsonl.read(tmp_path / "nowhere.jsonl"))
