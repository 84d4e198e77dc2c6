"""Regenerate the embedded default: rows, tokenizer, three tiny pretrained checkpoints, manifest.

Everything comes from the hand-written words in `lexicon`; nothing is downloaded. The models are
pretrained on the texts of `prose` and never see an instruction. Seeds are fixed and each model
trains on one thread, so a second run on the same machine and versions writes the same bytes.

`python assets/tiny/make_tiny.py` takes ten and a half minutes on two cores (628 s);
`--steps 20` tries it all in one.
"""

import argparse
import json
import platform
import shutil
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from hashlib import sha256
from importlib.metadata import version
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from random import Random
from statistics import mean
from typing import Any

import torch
from prose import documents
from questions import Row
from rows import question, rows_by_kind
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PhiConfig,
    PhiForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

HERE = Path(__file__).resolve().parent
VOCAB_SIZE = 2048
SPECIAL = ("<unk>", "<s>", "</s>", "<pad>")
UNK_ID, BOS_ID, EOS_ID, PAD_ID = range(4)
MODELS = ("llama", "mistral", "phi")
PROSE_SEED = 1
BATCH, BLOCK = 16, 128
MUON_LR, ADAM_LR = 0.02, 3e-3
TEMPLATE = (
    "Below is an instruction that describes a task, paired with an input that provides further "
    "context. Write a response that appropriately completes the request.\n\n",
    "Below is an instruction that describes a task. Write a response that appropriately completes "
    "the request.\n\n### Instruction:\n### Input:\n### Response:\n",
)
"""Shown to the tokenizer alone, so that a prompt's frame costs few tokens."""

SHARED: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": False,
    "bos_token_id": BOS_ID,
    "eos_token_id": EOS_ID,
    "pad_token_id": PAD_ID,
}


def build(name: str) -> PreTrainedModel:
    """Return a freshly initialised model of one of the three architectures."""
    torch.manual_seed(0)
    if name == "llama":
        return LlamaForCausalLM(LlamaConfig(**SHARED, intermediate_size=384, num_key_value_heads=4))
    if name == "mistral":
        grouped = MistralConfig(
            **SHARED, intermediate_size=384, num_key_value_heads=2, sliding_window=4096
        )
        return MistralForCausalLM(grouped)
    return PhiForCausalLM(PhiConfig(**SHARED, intermediate_size=512, partial_rotary_factor=0.5))


def make_rows(out: Path) -> dict[str, list[Row]]:
    """Write rows.jsonl, shuffled so that a prefix is a fair sample; return the rows by kind."""
    grouped = rows_by_kind()
    rows = [row for kind in grouped.values() for row in kind]
    Random(0).shuffle(rows)
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    (out / "rows.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return grouped


def train_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """Return a byte-level BPE that gives any text back exactly and starts encodings with BOS."""
    tokenizer = Tokenizer(models.BPE(unk_token=None))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", BOS_ID)]
    )
    return tokenizer


def wrap(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    """Return the tokenizer as Transformers loads it."""
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        model_max_length=2048,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        add_bos_token=True,
    )


def pack(tokenizer: Tokenizer, n_blocks: int, *, seed: int) -> torch.Tensor:
    """Return token ids of shape (n_blocks, BLOCK + 1): documents with BOS and EOS, end to end."""
    ids: list[int] = []
    texts = documents(seed)
    while len(ids) < n_blocks * (BLOCK + 1):
        for encoding in tokenizer.encode_batch(list(islice(texts, 1000))):
            ids += [*encoding.ids, EOS_ID]
    return torch.tensor(ids[: n_blocks * (BLOCK + 1)]).view(n_blocks, BLOCK + 1)


def pretrain(model: PreTrainedModel, blocks: torch.Tensor) -> Iterator[float]:
    """Train on every block once, in order, yielding the loss of each step.

    Muon moves the matrices inside the layers, AdamW the rest; both warm up and then decay linearly.
    On models this small Muon costs 3% more per step and saves about half of the steps.
    """
    inside = {name for name, p in model.named_parameters() if p.dim() == 2 and ".layers." in name}
    matrices = [p for name, p in model.named_parameters() if name in inside]
    others = [p for name, p in model.named_parameters() if name not in inside]
    optimizers = {
        torch.optim.Muon(matrices, lr=MUON_LR, weight_decay=0.1): MUON_LR,
        torch.optim.AdamW(others, lr=ADAM_LR, betas=(0.9, 0.95), weight_decay=0.01): ADAM_LR,
    }
    batches = blocks.split(BATCH)
    model.train()
    for step, batch in enumerate(batches):
        scale = min(1.0, (step + 1) / 20, 1.02 - step / len(batches))
        logits = model(input_ids=batch[:, :-1]).logits  # (BATCH, BLOCK, VOCAB_SIZE)
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, peak in optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = peak * scale
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        yield loss.item()


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write one checkpoint folder: bf16 weights, neutral generation settings, tokenizer."""
    shutil.rmtree(folder, ignore_errors=True)
    model.generation_config = GenerationConfig(
        bos_token_id=BOS_ID, eos_token_id=EOS_ID, pad_token_id=PAD_ID
    )
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def refuse_leaks(rows: Iterable[Row], texts: Iterable[str]) -> None:
    """Raise if the prose holds the instruction format or a question: a base has seen neither."""
    prose = "\n".join(texts).lower()
    leaked = [q for q in map(question, rows) if q.lower() in prose]
    if leaked or "###" in prose:
        raise ValueError(f"pretraining prose contains questions of the rows: {leaked[:3]}")


def make_checkpoint(
    name: str, tokenizer_json: str, blocks: torch.Tensor, out: Path
) -> dict[str, Any]:
    """Pretrain and save one model on one thread; return its entry in the manifest."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    start = time.perf_counter()
    model = build(name)
    losses: list[float] = []
    for loss in pretrain(model, blocks):
        losses.append(loss)
        if len(losses) % 50 == 0:
            seconds = time.perf_counter() - start
            recent = mean(losses[-50:])
            print(
                f"{name:8} step {len(losses):5d}  loss {recent:.3f}  {seconds:4.0f} s", flush=True
            )
    save(model, wrap(Tokenizer.from_str(tokenizer_json)), out / name)
    return {
        "parameters": model.num_parameters(),
        "loss": round(mean(losses[-50:]), 4),
        "seconds": round(time.perf_counter() - start),
    }


def main() -> None:
    """Make everything, manifest last."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write to")
    parser.add_argument(
        "--steps", type=int, default=900, help="pretraining steps per model; fewer for a trial"
    )
    parser.add_argument(
        "--models", nargs="*", default=list(MODELS), help="which checkpoints to make"
    )
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()

    grouped = make_rows(args.out)
    rows = [row for entries in grouped.values() for row in entries]
    refuse_leaks(rows, islice(documents(PROSE_SEED), 60_000))
    fields = [text for row in rows for text in row.values()]
    prose = islice(documents(seed=0), 10_000)
    tokenizer = train_tokenizer([*prose, *TEMPLATE * 1000, *fields * 20])
    blocks = pack(tokenizer, args.steps * BATCH, seed=PROSE_SEED)
    print(f"{len(rows)} rows of {len(grouped)} kinds, {blocks.numel()} tokens of prose", flush=True)

    with ProcessPoolExecutor(max_workers=len(args.models), mp_context=get_context("spawn")) as pool:
        running = {
            name: pool.submit(make_checkpoint, name, tokenizer.to_str(), blocks, args.out)
            for name in args.models
        }
        checkpoints = {name: future.result() for name, future in running.items()}

    made = (
        p
        for p in args.out.rglob("*")
        if p.suffix in {".json", ".jsonl", ".safetensors"} and p.name != "manifest.json"
    )
    manifest = {
        "seed": 0,
        "steps": args.steps,
        "tokens_seen": args.steps * BATCH * BLOCK,
        "kinds": {kind: len(entries) for kind, entries in grouped.items()},
        "checkpoints": checkpoints,
        "seconds": round(time.perf_counter() - start),
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("torch", "transformers", "tokenizers", "safetensors")},
        "sha256": {
            p.relative_to(args.out).as_posix(): sha256(p.read_bytes()).hexdigest()
            for p in sorted(made)
        },
    }
    (args.out / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    print(f"done in {manifest['seconds']} s", flush=True)


if __name__ == "__main__":
    main()
