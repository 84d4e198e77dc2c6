"""What the notebook on decoding shows: by hand where it counts, and over a small random model."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from alpaca_lab.config import DecodeSetting, SettingError
from alpaca_lab.decoding.jobs import Finished, Job, Step
from alpaca_lab.decoding_walkthrough import answers, draw_figures, marked, slot_figures, timeline
from alpaca_lab.decoding_walkthrough.answers import Parted
from alpaca_lab.decoding_walkthrough.opened import Opened, asked, open_model
from alpaca_lab.profiles import configure
from alpaca_lab.store import Record
from random_models import EOS, VOCABULARY, random_model

GREEDY = DecodeSetting(max_new_tokens=8)


class Letters:
    """A tokenizer with a letter per token; the last two tokens make one "é" together."""

    eos_token_id = EOS
    first, second = 120, 121

    def __call__(self, text, **_):
        return SimpleNamespace(input_ids=[3 + ord(letter) % 90 for letter in text[-12:]])

    def decode(self, ids, **_):
        text = "".join(self.letter(token) for token in ids if token != EOS)
        return text.replace("\xc3\xa9", "é").replace("\xc3", "\ufffd")

    def letter(self, token):
        odd = {self.first: "\xc3", self.second: "\xa9"}
        return odd.get(token, chr(token + 20) if token >= 12 else "~")


def ids(text):
    """The tokens whose text it is."""
    return tuple(ord(letter) - 20 for letter in text)


def job(cell="greedy", question="q", prompt=5):
    return Job(question=question, prompt_ids=(7,) * prompt, cell=cell, setting=GREEDY, repeat=0)


def finished(tokens, *, ends="eos", **of):
    tokens = ids(tokens) if isinstance(tokens, str) else tuple(tokens)
    n = len(tokens) + (ends == "eos")
    return Finished(job=job(**of), ids=tokens, n_new_tokens=n, finish_reason=ends)


def step(*jobs, drawn=0, read=0, used=0):
    return Step(size=len(jobs), drawn=drawn, read=read, used=used, seen=0, jobs=jobs)


# Where answers part


@pytest.mark.parametrize(
    ("one", "other", "place"),
    [
        (finished("abc"), finished("abd"), 2),
        (finished("abc"), finished("xbc"), 0),
        (finished("abc"), finished("abc"), None),
        (finished("ab"), finished("abc"), 2),  # the end is a token
        (finished("ab", ends="length"), finished("abc"), None),  # what would follow is unknown
        (finished(""), finished("a"), 0),
    ],
)
def test_answers_part_at_the_first_token_that_differs(one, other, place):
    assert answers.parting(one, other) == answers.parting(other, one) == place


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("abcd", "abxd", Parted(same="ab", token="c", rest="d")),
        ("abc", "abc", Parted(same="abc", token=None)),
        ("ab", "abc", Parted(same="ab", token="")),
        ("abc", "ab", Parted(same="ab", token="c")),
    ],
)
def test_an_answer_is_cut_where_it_parts(one, other, expected):
    assert answers.parted(Letters(), finished(one), finished(other)) == expected


def test_a_character_of_two_tokens_is_not_torn_apart():
    """They share its first token: it parts before the character, and shows the whole of it."""
    one = finished([*ids("a"), Letters.first, Letters.second, *ids("b")])
    other = finished([*ids("a"), Letters.first, *ids("b")])
    assert answers.parted(Letters(), one, other) == Parted(same="a", token="é", rest="b")


# Answers as HTML


def test_text_of_a_model_is_shown_and_never_rendered():
    frame = pd.DataFrame(
        {"cell": ["<b>x</b>"], "answer": [Parted(same="<i>", token="$1", rest="</td>$2\x1b")]}
    )
    shown = marked.table(frame).data
    for raw in ("<b>x", "<i>", "</td>$", "\x1b", "$1"):
        assert raw not in shown
    assert "&lt;b&gt;x&lt;/b&gt;" in shown and "&lt;/td&gt;<span>$</span>2␛" in shown


def test_the_token_that_differs_is_marked_without_the_space_before_it():
    shown = marked.parted(Parted(same="A", token=" cat", rest=" sat"))
    assert f'</span> <span style="{marked.MARK}">cat</span> sat' in shown


def test_an_answer_that_ends_early_says_so_and_one_that_never_parts_has_no_mark():
    assert "(ends here)" in marked.parted(Parted(same="yes", token=""))
    assert marked.MARK not in marked.parted(Parted(same="yes", token=None))


def test_numbers_stand_right_and_words_left():
    shown = marked.table(pd.DataFrame({"cell": ["greedy"], "ROUGE-L": [57.142]})).data
    assert f'<td style="{marked.LEFT}; white-space: nowrap">greedy' in shown
    assert f'<td style="{marked.RIGHT}; white-space: nowrap">57.1' in shown


# Slots over time


def test_static_batches_wait_for_their_longest_as_worked_by_hand():
    """Slots 2. Setting a: lengths 3, 1, then 2 alone; setting b: 4. Steps 3 + 2 + 4 = 9."""
    of_a = [finished("ab", cell="a"), finished("", cell="a"), finished("a", cell="a")]
    static = timeline.static([of_a[0], finished("abc", cell="b"), *of_a[1:]], slots=2)
    assert list(
        static.turns[["slot", "start", "end", "cell"]].itertuples(index=False, name=None)
    ) == [
        (0, 0, 3, "a"),
        (1, 0, 1, "a"),
        (0, 3, 5, "a"),
        (0, 5, 9, "b"),
    ]
    assert static.steps == 9
    assert static.drawing == (3 + 1 + 2 + 4) / (2 * 9)
    assert static.reading == 0


def test_turns_are_read_from_who_sat_where():
    """Two answers of one cell after one another in a slot are two turns; an empty slot is none."""
    one, two, three = job(question="1"), job(question="2"), job(question="3", cell="b")
    seen = timeline.watched(
        [
            step(None, None, read=2),
            step(one, None, drawn=1, read=1),
            step(one, three, drawn=2),
            step(two, three, drawn=2),
        ]
    )
    assert list(seen.turns.itertuples(index=False, name=None)) == [
        (0, 1, 3, "greedy", "1"),
        (0, 3, 4, "greedy", "2"),
        (1, 2, 4, "b", "3"),
    ]
    assert (seen.steps, seen.slots) == (4, 2)
    assert (seen.drawing, seen.reading) == (5 / 8, 3 / 8)


def test_a_copy_of_the_prompt_per_answer_is_counted_by_hand():
    """Prompts of 5: an answer has 4 columns of it, and one per token that it read itself."""
    one, two = job(question="1"), job(question="2")
    pool = timeline.columns_over_time(
        [step(one, None, used=5), step(one, two, used=7), step(two, two, used=3)]
    )
    assert list(pool["used"]) == [5, 7, 3]
    assert list(pool["copied"]) == [4 + 1, 4 + 2 + 4 + 1, 4 + 1 + 4 + 2]


def test_reserved_columns_are_those_of_the_longest_in_every_slot():
    """Prompts 5 and 9, answers 4 and 2 tokens, budget 8: 3 x (9 + 8) and 3 x (9 + 2)."""
    done = [finished("abc", prompt=5), finished("a", prompt=9)]
    assert timeline.reserved(done, slots=3) == (51, 33)


# A small random model


QUESTIONS = [
    {"id": str(n), "instruction": text, "input": "", "reference": "a b c"}
    for n, text in enumerate(("one?", "what is two?", "three"))
]


@pytest.fixture(scope="module")
def opened():
    study = configure(
        "smoke",
        models="tiny-llama",
        changes={"max_new_tokens": "10", "slots": "4", "beams": "(2,)"},
    )
    return Opened(
        study=study, model=random_model("llama"), tokenizer=Letters(), questions=QUESTIONS
    )


def test_a_question_is_answered_in_every_cell_and_compared_with_greedy(opened):
    found = answers.in_every_cell(opened, QUESTIONS[0])
    assert [finished.job.cell for finished in found.values()] == list(found)
    assert len(found) == 11
    table = answers.cell_table(opened, QUESTIONS[0], found)
    assert list(table) == ["cell", "answer", "tokens", "why it ended", "ROUGE-L"]
    assert list(table["cell"][:2]) == ["greedy", "temperature 0.001"]
    assert table["answer"][0] == Parted(same=opened.text(found["greedy"].ids), token=None)
    assert set(table["why it ended"]) <= set(answers.ENDS.values())
    assert answers.same_again(found, found.values()).startswith("11 of 11 ")


def test_what_slots_did_agrees_with_the_answers(opened):
    steps = []
    done = opened.decode(opened.jobs(QUESTIONS, opened.one_pass()), width=3, watch=steps.append)
    ours, static = timeline.watched(steps), timeline.static(done, slots=3)
    assert ours.drawn == static.drawn == sum(finished.n_new_tokens for finished in done)
    assert sorted(ours.turns["end"] - ours.turns["start"]) == sorted(
        static.turns["end"] - static.turns["start"]
    )
    assert ours.drawing + ours.reading <= 1
    for drawn in (slot_figures.slots(ours, static), pool_of(steps, done)):
        assert drawn.startswith(b"\x89PNG")


def pool_of(steps, done):
    frame = timeline.columns_over_time(steps)
    assert (frame["used"] <= timeline.reserved(done, slots=3)[0]).all()
    return slot_figures.pool(frame, reserved=timeline.reserved(done, slots=3))


def test_a_setting_parts_from_itself_only_under_another_noise(opened):
    pair = ("temperature=1", "temperature=1")
    table = answers.noise_table(opened, QUESTIONS, pair, other_seed=1)
    assert list(table["shared, same noise (%)"]) == [100, 100, 100]
    assert table["shared, other noise (%)"].mean() < 100
    assert [text.token for text in table["temperature 1, same noise"]] == [None, None, None]


def test_a_beam_is_a_row_of_every_step(opened):
    table = answers.beam_table(opened, QUESTIONS[1])
    assert list(table["beams"]) == [1, 2]
    assert table["rows"][0] == table["tokens"][0]
    assert table["rows"][1] % 2 == 0 and table["rows"][1] >= 2 * table["tokens"][1]
    assert (table["log p per token"] < 0).all()


def test_every_token_is_as_likely_to_a_model_that_knows_nothing(opened):
    import torch

    def model(*, input_ids, use_cache):
        return SimpleNamespace(logits=torch.zeros(*input_ids.shape, VOCABULARY))

    model.device = "cpu"
    blank = replace(opened, model=model)
    assert answers.mean_log_probability(blank, finished("abc")) == pytest.approx(
        -math.log(VOCABULARY)
    )


def test_question_is_shown_as_it_is_asked(opened):
    shown = asked(opened, QUESTIONS[0]).set_index("what")["text"]
    assert (shown["instruction"], shown["input"], shown["reference"]) == ("one?", "(none)", "a b c")


def test_an_unknown_cell_is_refused_with_those_there_are(opened):
    with pytest.raises(SettingError, match="greedy, temperature=0.001"):
        opened.cell("temprature=1")


def test_a_model_that_is_not_finetuned_says_how_to_finetune_it(opened, tmp_path):
    with pytest.raises(SettingError, match="Tiny LLaMA is not finetuned in results/mine: run "):
        open_model(opened.study, record=Record(tmp_path / "mine"))


def test_recorded_noise_is_of_one_model_and_of_pairs_alone():
    shown = answers.recorded_noise("tiny-llama")
    assert len(shown) == 9
    assert "whole knob" not in set(shown["compared"])
    assert answers.recorded_noise("someone").empty


# One draw


@pytest.fixture(scope="module")
def here(opened):
    from alpaca_lab.decoding_walkthrough import draws

    return draws.place(opened, QUESTIONS[0], [5, 6])


def test_probabilities_are_those_worked_by_hand():
    """Weights 1, 3, 2: T 0.5 squares them; top-k 2 drops the least; greedy leaves one."""
    torch = pytest.importorskip("torch")
    from alpaca_lab.decoding_walkthrough.draws import probabilities

    logits = torch.tensor([1.0, 3.0, 2.0]).log()
    for fields, expected in (
        ({"do_sample": True}, [1 / 6, 3 / 6, 2 / 6]),
        ({"do_sample": True, "temperature": 0.5}, [1 / 14, 9 / 14, 4 / 14]),
        ({"do_sample": True, "top_k": 2}, [0, 3 / 5, 2 / 5]),
        ({}, [0, 1, 0]),
    ):
        setting = DecodeSetting(max_new_tokens=8, **fields)
        assert probabilities(logits, setting).tolist() == pytest.approx(expected)


def test_a_place_draws_what_the_decode_loop_drew(opened):
    from alpaca_lab.decoding_walkthrough import draws

    for done in opened.decode(opened.jobs(QUESTIONS[:1], opened.one_pass())):
        *said, last = done.ids
        at = draws.place(opened, QUESTIONS[0], said)
        assert list(at.draw([done.job.setting], [at.key])) == [last], done.job.cell


def test_likeliest_tokens_hold_the_drawn_one_wherever_it_stands(here):
    from alpaca_lab.decoding_walkthrough import draws

    frame = draws.likeliest(here, ("temperature=1", "top_k=2"), tokens=1)
    assert (frame.groupby("cell")["drawn"].sum() == 1).all()
    assert frame["token"][0] == here.name(int(here.logits.argmax()))
    assert draw_figures.chances(frame, said="a $b$ " * 20).startswith(b"\x89PNG")


def test_the_token_on_top_of_the_race_is_the_one_that_the_sampler_draws(here):
    from alpaca_lab.decoding_walkthrough import draws

    run = draws.race(here, most=2.0, steps=20)
    heights = run.lines["logit"].to_numpy() + np.outer(run.temperatures, run.lines["noise"])
    assert list(run.lines.index[heights.argmax(axis=1)]) == list(run.winners)
    assert run.winners[0] == int(here.logits.argmax())
    assert draw_figures.race(run, marks=(1,)).startswith(b"\x89PNG")


def test_the_race_in_numbers_has_every_winner(here):
    from alpaca_lab.decoding_walkthrough import draws

    table = draws.race_table(draws.race(here), temperatures=(0, 0.5, 1), tokens=2)
    won = ", ".join(text for text in table["wins at T"] if text)
    assert sorted(won.split(", ")) == ["0", "0.5", "1"]
    assert (table["T = 0.5"] == table["logit"] + 0.5 * table["noise"]).all()


def test_draws_are_all_counted_and_fit_their_probabilities(here):
    from alpaca_lab.decoding_walkthrough import draws

    shares = draws.draw_shares(here, "temperature=1", draws=1200, tokens=4)
    assert shares["token"].iloc[-1] == "all others"
    assert shares["drawn"].sum() == 1200
    assert shares["expected"].sum() == pytest.approx(1200)
    assert float(draws.goodness(shares).rpartition(" ")[2]) > 0.001
    biased = shares.assign(drawn=[1200, *[0] * (len(shares) - 1)])
    assert draws.goodness(biased).endswith("p = 0.00")


def test_where_one_token_takes_every_draw_nothing_is_tested(here):
    from alpaca_lab.decoding_walkthrough import draws

    shares = draws.draw_shares(here, "greedy", draws=20)
    assert list(shares["drawn"]) == [20]
    assert draws.goodness(shares).startswith("nothing to test")


def test_spaces_and_ends_of_tokens_can_be_seen():
    from alpaca_lab.decoding_walkthrough.draws import token_name

    assert token_name(Letters(), ids(" ")[0]) == "␣"
    assert token_name(Letters(), EOS) == "(end)"


def test_settings_of_a_knob_share_a_hue_and_no_two_cells_a_colour():
    names = ["greedy", "temperature=0.5", "temperature=1", "top_k=2", "top_k=4"]
    colours = slot_figures.cell_colours(names)
    assert len(set(colours.values())) == len(names)
    red, _, blue = colours["temperature=1"]
    assert red > blue
