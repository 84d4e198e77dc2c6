"""Every model of a study learns from the same rows in the same order, however passes are cut."""

import pytest

from alpaca_lab.batches import pack, pad, plan_steps


def test_each_row_is_seen_once_an_epoch():
    steps = plan_steps(10, batch_size=4, epochs=2, seed=1)
    assert [len(step) for step in steps] == [4, 4, 2] * 2
    for epoch in (steps[:3], steps[3:]):
        assert sorted(i for step in epoch for i in step) == list(range(10))
    assert steps[:3] != steps[3:]


def test_order_is_decided_by_the_seed_alone():
    plan = {"batch_size": 4, "epochs": 3}
    assert plan_steps(50, **plan, seed=1) == plan_steps(50, **plan, seed=1)
    assert plan_steps(50, **plan, seed=1) != plan_steps(50, **plan, seed=2)
    longer = plan_steps(50, batch_size=4, epochs=5, seed=1)
    assert longer[:39] == plan_steps(50, **plan, seed=1)


def test_max_steps_shortens_a_run_or_lengthens_it():
    assert len(plan_steps(10, batch_size=4, epochs=2, seed=0, max_steps=2)) == 2
    assert len(plan_steps(10, batch_size=4, epochs=1, seed=0, max_steps=8)) == 8


def test_part_of_an_epoch_is_whole_batches():
    assert len(plan_steps(10, batch_size=4, epochs=0.5, seed=0)) == 2


@pytest.mark.parametrize("split", [pack, pad])
def test_no_row_is_lost_or_doubled(split):
    lengths = [(7 * i) % 23 + 1 for i in range(40)]
    passes = split(lengths, room=50)
    assert sorted(i for part in passes for i in part) == list(range(40))


def test_packed_passes_hold_the_room_and_are_evenly_filled():
    lengths = [(7 * i) % 23 + 1 for i in range(40)]
    filled = [sum(lengths[i] for i in part) for part in pack(lengths, room=100)]
    assert len(filled) == -(-sum(lengths) // 100)
    assert max(filled) <= 100
    assert max(filled) - min(filled) <= max(lengths)


def test_packing_takes_another_pass_where_the_fewest_do_not_do():
    # 3 x 6 tokens are 18 of 2 x 10, but no two of them share a pass of 10.
    assert pack([6, 6, 6], room=10) == [[0], [1], [2]]


def test_padded_passes_hold_the_room_with_their_padding():
    lengths = [(7 * i) % 23 + 1 for i in range(40)]
    for part in pad(lengths, room=50):
        assert len(part) * max(lengths[i] for i in part) <= 50
