import pytest

from alpaca_lab.config import SettingError
from alpaca_lab.profiles import configure
from alpaca_lab.sweep import cells

STANDARD = [
    "greedy",
    *(f"temperature={t}" for t in ("0.001", "0.25", "0.5", "0.75", "1")),
    *(f"num_beams={n}" for n in (2, 4, 8)),
    *(f"top_k={k}" for k in (2, 4, 8, 16)),
]


def test_standard_sweep_has_thirteen_cells():
    assert [cell.name for cell in cells(configure("full"))] == STANDARD


def test_each_cell_turns_one_knob_with_the_others_neutral():
    neutral = {"temperature": 1.0, "top_k": 0, "num_beams": 1}
    for cell in cells(configure("full")):
        fields = cell.setting.generation_fields()
        turned = {name for name, value in neutral.items() if fields[name] != value}
        assert turned <= {cell.axis}
        assert fields["top_p"] == 1.0 and fields["length_penalty"] == 1.0


def test_beams_do_not_sample_and_sampled_cells_repeat():
    by_axis = {}
    for cell in cells(configure("full")):
        by_axis.setdefault(cell.axis, []).append((cell.setting.do_sample, cell.repeats))
    assert by_axis[None] == [(False, 1)]
    assert by_axis["num_beams"] == [(False, 1)] * 3
    assert by_axis["temperature"] == [(True, 2), *[(True, 3)] * 4]
    assert by_axis["top_k"] == [(True, 3)] * 4


def test_a_bad_value_fails_before_anything_runs():
    with pytest.raises(SettingError, match="temperature must be > 0"):
        list(cells(configure("smoke", changes={"temperatures": "(0.5, 0.0)"})))
