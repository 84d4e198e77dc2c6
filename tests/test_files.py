"""Files that tell when they were damaged."""

import json
import os
import zlib

import pytest

from alpaca_lab.files import (
    SUMS,
    RecordError,
    append_line,
    as_line,
    damaged,
    drop_damaged_lines,
    read_json,
    read_lines,
    write_atomically,
    write_json,
    write_lines,
    write_sums,
)

VALUES = [{}, {"a": 1}, {"text": '\u2028 \0 \U0001f999 "}\n', "deep": {"list": [1, None, 0.1]}}]


@pytest.mark.parametrize("values", VALUES)
def test_document_comes_back_as_it_was_and_is_plain_json(tmp_path, values):
    path = tmp_path / "x.json"
    write_json(path, values)
    assert read_json(path) == values
    assert json.loads(path.read_text()).keys() == {*values, "crc32"}


@pytest.mark.parametrize("values", VALUES)
def test_no_flipped_bit_of_a_document_gets_past(tmp_path, values):
    path = tmp_path / "x.json"
    write_json(path, values)
    whole = path.read_bytes()
    for place in range(len(whole)):
        for bit in range(8):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
            with pytest.raises(RecordError, match=r"x\.json is damaged"):
                read_json(path)


def test_no_cut_of_a_document_gets_past(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, VALUES[-1])
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(RecordError, match=r"x\.json is damaged.*; delete it and run again"):
            read_json(path)


@pytest.mark.parametrize("values", VALUES)
def test_no_flipped_bit_of_a_line_gets_past(tmp_path, values):
    path, line = tmp_path / "x.jsonl", as_line(values)
    for place in range(len(line)):
        for bit in range(8):
            broken = line[:place] + bytes([line[place] ^ 1 << bit]) + line[place + 1 :]
            path.write_bytes(as_line({"n": 1}) + broken + as_line({"n": 2}))
            with pytest.raises(RecordError, match=r"x\.jsonl:2 is damaged"):
                read_lines(path)
            assert drop_damaged_lines(path) > 0
            # A lost or a new end of line takes its neighbour with it, never more.
            assert {"n": 1} in read_lines(path)


def test_a_line_may_hold_what_other_programs_take_for_an_end(tmp_path):
    path = tmp_path / "x.jsonl"
    rows = [{"text": "a\u2028b\x85c\x1ed\re"}, {"text": "f\n"}]
    for row in rows:
        append_line(path, row)
    assert read_lines(path) == rows and read_lines(path, whole=True) == rows


def test_cut_last_line_is_left_out_while_a_file_grows_and_damage_where_it_does_not(tmp_path):
    path = tmp_path / "x.jsonl"
    write_lines(path, [{"n": 1}, {"n": 2}])
    path.write_bytes(path.read_bytes()[:-3])
    assert read_lines(path) == [{"n": 1}]
    with pytest.raises(RecordError, match=r"x\.jsonl:2 is damaged.*; ask"):
        read_lines(path, whole=True, cure="ask")


def test_each_cut_of_a_growing_file_loses_one_line_at_most(tmp_path):
    path = tmp_path / "x.jsonl"
    rows = [{"n": n, "text": "x" * n} for n in range(4)]
    write_lines(path, rows)
    whole = path.read_bytes()
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        kept = read_lines(path)
        append_line(path, {"next": True})
        assert read_lines(path) == [*rows[: len(kept)], {"next": True}]
        assert len(b"".join(map(as_line, rows[: len(kept) + 1]))) > length or kept == rows


def test_interrupted_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "manifest.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert read_json(path) == {"a": 1}
    assert [item.name for item in tmp_path.iterdir()] == ["manifest.json"]


def test_missing_document_says_what_to_do(tmp_path):
    with pytest.raises(RecordError, match="run the stage that writes it"):
        read_json(tmp_path / "study.json")


def test_sums_name_what_was_changed_lost_or_never_finished(tmp_path):
    assert damaged(tmp_path) == [tmp_path / SUMS]
    for name in ("a", "b/c"):
        write_atomically(tmp_path / name, name)
    write_sums(tmp_path, ["a", "b/c"])
    assert damaged(tmp_path) == []
    (tmp_path / "a").write_text("b")
    (tmp_path / "b" / "c").unlink()
    assert damaged(tmp_path) == [tmp_path / "a", tmp_path / "b" / "c"]


def test_sums_are_those_that_sha256sum_checks(tmp_path):
    import subprocess

    (tmp_path / "a").write_text("text")
    write_sums(tmp_path, ["a"])
    subprocess.run(["sha256sum", "--check", "--quiet", SUMS], cwd=tmp_path, check=True)


def test_no_flipped_bit_of_the_sums_is_taken_for_another_files(tmp_path):
    (tmp_path / "a").write_text("text")
    write_sums(tmp_path, ["a"])
    whole = (tmp_path / SUMS).read_bytes()
    for place in range(len(whole)):
        (tmp_path / SUMS).write_bytes(
            whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
        )
        assert damaged(tmp_path) == [tmp_path / SUMS]


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", ""])
def test_sums_that_lead_elsewhere_are_damage(tmp_path, name):
    text = f"{'0' * 64}  {name}\n"
    (tmp_path / SUMS).write_text(f"{text}# crc32 {zlib.crc32(text.encode()):08x}\n")
    assert damaged(tmp_path) == [tmp_path / SUMS]


def test_what_a_killed_write_left_goes_with_a_later_write_of_the_same_file(tmp_path):
    """Not what another process may be writing now, nor a file that only looks like it."""
    old, new, other = (tmp_path / name for name in (".t[1].md.abcdefgh", ".t[1].md.12345678", ".x"))
    for path in (old, new, other):
        path.write_text("half")
    for path in (old, other):
        os.utime(path, (1, 1))
    write_atomically(tmp_path / "t[1].md", "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == [new.name, other.name, "t[1].md"]
