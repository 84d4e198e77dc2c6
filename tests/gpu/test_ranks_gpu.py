"""Two GPUs against one: the same steps, and answers as one GPU's to within what 16 bits move."""

import pytest

pytestmark = pytest.mark.gpu
torch = pytest.importorskip("torch")
from launches import SMALL, Copy  # noqa: E402

if torch.cuda.device_count() < 2:
    pytest.skip("needs two GPUs", allow_module_level=True)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A study finetuned and decoded on one GPU of the two."""
    copy = Copy(tmp_path_factory.mktemp("alone"))
    for stage in ("finetune", "generate"):
        status, printed = copy.run(stage, *SMALL)
        assert status == 0, printed[-3000:]
    return copy


@pytest.mark.parametrize("loader", ["plain", "unsloth"])
def test_two_gpus_learn_what_one_learns(alone, tmp_path, loader):
    copy = Copy(tmp_path)
    status, printed = copy.run("finetune", *SMALL, "--set", f"train.loader={loader}", processes=2)
    assert status == 0, printed[-3000:]
    (losses, manifest), (expected, _) = copy.losses(), alone.losses()
    assert manifest["processes"] == 2
    assert losses["tokens"].equals(expected["tokens"])
    assert losses["loss"].to_numpy() == pytest.approx(expected["loss"].to_numpy(), rel=5e-3)


def test_two_gpus_give_every_answer_once_and_nearly_all_as_one_gives_them(alone, tmp_path):
    copy = Copy(tmp_path, of=alone)
    for path in copy.record.glob("runs/*"):
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
    status, printed = copy.run("generate", *SMALL, processes=2)
    assert status == 0, printed[-3000:]
    found, expected = copy.answers(), alone.answers()
    assert {run: len(lines) for run, lines in found.items()} == {
        run: len(lines) for run, lines in expected.items()
    }
    same = sum(len(set(found[run]) & set(lines)) for run, lines in expected.items())
    assert same >= 0.9 * sum(map(len, expected.values()))
