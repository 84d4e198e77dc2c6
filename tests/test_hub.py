"""What the hub does wrong costs a wait, a rest of a file, or one sentence; never a traceback."""

import errno
import hashlib
import json
import os
import random
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from alpaca_lab.config import SettingError
from alpaca_lab.hub import cache, download
from alpaca_lab.hub import fetch as fetching
from alpaca_lab.hub.fetch import fetch
from alpaca_lab.hub.patience import optional
from alpaca_lab.hub.repository import RemoteFile, Repository
from alpaca_lab.profiles import MODELS
from alpaca_lab.store import Record
from alpaca_lab.study import prepare
from faults import hub_client
from faults.hub_stub import COMMIT, SIGNATURE, Fault, etag

WEIGHTS = random.Random(0).randbytes(300_000)
FILES = {
    "config.json": b'{"model_type": "llama"}',
    "tokenizer.json": b"{}",
    "model.safetensors": WEIGHTS,
    "pytorch_model.bin": b"pickle",
    "code.py": b"print()",
}
TINY = Repository(
    name="lab/tiny",
    revision=COMMIT,
    files=("*.safetensors", "*.safetensors.index.json", "config.json", "tokenizer.json"),
    needs=("config.json", "tokenizer.json", "*.safetensors"),
    title="lab/tiny",
    instead="use a local folder with tiny=FOLDER",
)


@pytest.fixture(autouse=True)
def with_weights(hub):
    hub.add("model", "lab/tiny", COMMIT, FILES)


def refused(repository=TINY):
    with pytest.raises(SettingError) as caught:
        fetch(repository)
    text = str(caught.value)
    assert "://" not in text and SIGNATURE not in text and "\n" not in text
    assert caught.value.__cause__ is None
    return text


def offline(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def test_files_of_a_commit_arrive_whole_and_no_pickle_and_no_code_is_asked_for(hub):
    folder = fetch(TINY)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {
        name: FILES[name] for name in ("config.json", "tokenizer.json", "model.safetensors")
    }
    assert not hub.requests(where="pytorch_model.bin")
    assert not hub.requests(where="code.py")
    assert len(hub.requests("GET", "/api/models/")) == 1


def test_a_commit_that_is_there_is_taken_without_a_request(hub):
    fetch(TINY)
    hub.mend()
    fetch(TINY)
    assert hub.log == []


def test_the_cache_is_that_of_the_hubs_own_client(hub, monkeypatch):
    from huggingface_hub import snapshot_download

    folder = fetch(TINY)
    offline(monkeypatch)
    assert snapshot_download("lab/tiny", revision=COMMIT, local_files_only=True) == str(folder)


def test_what_the_hubs_own_client_fetched_is_taken_without_a_request(hub):
    from huggingface_hub import snapshot_download

    snapshot_download("lab/tiny", revision=COMMIT, allow_patterns=list(TINY.files))
    hub.mend()
    fetch(TINY)
    assert hub.log == []


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_busy_hub_is_asked_again_and_each_try_is_printed(hub, waits, capsys, status):
    hub.breaks("/api/models", Fault(status=status), times=2)
    fetch(TINY)
    assert waits == [2, 4]
    assert capsys.readouterr().err.splitlines() == [
        f"lab/tiny: the hub does not answer ({status}): try 2 of 5 in 2 s",
        f"lab/tiny: the hub does not answer ({status}): try 3 of 5 in 4 s",
    ]


def test_a_hub_that_stays_busy_is_given_up_after_five_tries(hub, waits):
    hub.breaks("/api/models", Fault(status=503))
    assert refused() == (
        "lab/tiny could not be had, the hub does not answer (503): run again later, or use a "
        "local folder with tiny=FOLDER"
    )
    assert waits == [2, 4, 8, 16]
    assert len(hub.log) == 5


@pytest.mark.parametrize(
    "headers",
    [
        lambda: {"Retry-After": "7"},
        lambda: {"Retry-After": format_datetime(datetime.now(UTC) + timedelta(seconds=7))},
        lambda: {"RateLimit": '"api";r=0;t=7'},
    ],
)
def test_the_hub_says_how_long_to_wait(hub, waits, headers):
    hub.breaks("/api/models", Fault(status=429, headers=headers()), times=1)
    fetch(TINY)
    assert waits == [pytest.approx(7, abs=2)]


def test_a_hub_that_asks_for_an_hour_is_not_waited_for(hub, waits):
    hub.breaks("/api/models", Fault(status=429, headers={"Retry-After": "3600"}))
    assert refused() == (
        "lab/tiny could not be had, too many requests (429): run again in 3600 s, or use a "
        "local folder with tiny=FOLDER"
    )
    assert waits == []


GATED = {"X-Error-Code": "GatedRepo"}
WRONG_TOKEN = {"X-Error-Message": "Invalid credentials in Authorization header"}


@pytest.mark.parametrize(
    ("where", "fault", "sentence"),
    [
        (
            "/resolve/",
            Fault(status=403, headers=GATED),
            "lab/tiny is gated: accept its licence on the hub and set HF_TOKEN",
        ),
        (
            "/resolve/",
            Fault(status=401, headers=GATED),
            "lab/tiny is gated: accept its licence on the hub and set HF_TOKEN",
        ),
        (
            "/api/",
            Fault(status=401, headers=WRONG_TOKEN),
            "the hub does not know the token that was sent for lab/tiny (401): set HF_TOKEN to a "
            "valid one",
        ),
        (
            "/cdn/",
            Fault(status=403),
            "the hub keeps lab/tiny from this token (403): ask its owner for access",
        ),
        (
            "/cdn/",
            Fault(status=404),
            "lab/tiny lacks a file that the hub lists (404): take another commit",
        ),
        (
            "/api/",
            Fault(body=b"<html>Welcome to this hotel"),
            "lab/tiny could not be had, what answers is not the hub (a login page, a proxy?): "
            "check the network and HF_ENDPOINT",
        ),
    ],
)
def test_a_refusal_is_one_sentence_and_is_not_asked_again(hub, waits, where, fault, sentence):
    hub.breaks(where, fault)
    assert refused() == f"{sentence}, or use a local folder with tiny=FOLDER"
    assert waits == []


def test_a_repository_that_is_not_there_is_named(hub):
    assert refused(replace(TINY, name="lab/none", title="lab/none")) == (
        "lab/none is not on the hub, or not for everyone (401): check the name, set HF_TOKEN if "
        "it is private, or use a local folder with tiny=FOLDER"
    )


def test_a_commit_that_is_not_there_is_named(hub):
    assert refused(replace(TINY, revision="f" * 40)) == (
        f"lab/tiny has no commit {'f' * 40} on the hub: check its 40 digits, or use a local folder "
        "with tiny=FOLDER"
    )


def test_a_name_that_no_repository_can_have_is_named(hub):
    sentence = refused(replace(TINY, name="a/b/c", title="a/b/c"))
    assert sentence.startswith("a/b/c: 'a/b/c' is no name of the hub: give owner/name, or ")
    assert hub.log == []


def test_a_hub_that_is_down_is_given_up_once_and_then_asked_once(hub, waits):
    hub.shutdown()
    hub.server_close()
    sentence = (
        "lab/tiny could not be had, the hub cannot be reached: check the network, or use a local "
        "folder with tiny=FOLDER"
    )
    assert refused() == sentence
    assert waits == [2, 4, 8, 16]
    waits.clear()
    assert refused() == sentence
    assert waits == []


def test_what_can_be_done_without_waits_for_no_hub_that_is_not_there(hub, waits):
    hub.shutdown()
    hub.server_close()
    with optional():
        assert "the hub cannot be reached" in refused()
    assert waits == []


def test_what_can_be_done_without_waits_for_a_hub_that_is_there(hub, waits):
    hub.breaks("/api/models", Fault(status=503), times=2)
    with optional():
        fetch(TINY)
    assert waits == [2, 4]


@pytest.mark.parametrize("where", ["/api/", "/cdn/"])
def test_a_hub_that_sends_nothing_is_not_waited_for_for_ever(hub, where):
    hub.breaks(where, Fault(body=b"x" * 10, stall_at=0) if where == "/api/" else Fault(stall_at=0))
    began = time.monotonic()
    assert refused() == (
        "lab/tiny could not be had, the hub sent nothing 5 times: run again to go on from there, "
        "set HF_HUB_DOWNLOAD_TIMEOUT to more seconds, or use a local folder with tiny=FOLDER"
    )
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("fault", [Fault(reset_at=123_456), Fault(stall_at=123_456)])
def test_a_disconnect_within_a_file_goes_on_from_that_byte(hub, capsys, fault):
    hub.breaks("/cdn/", fault, times=1)
    folder = fetch(TINY)
    first, rest = hub.requests("GET", "/cdn/")
    assert (first.range, first.sent) == (None, 123_456)
    assert (rest.range, rest.status, rest.sent) == ("bytes=123456-", 206, 300_000 - 123_456)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert "lab/tiny, model.safetensors: the hub " in capsys.readouterr().err


def test_the_next_process_goes_on_where_the_last_one_stopped(hub):
    hub.breaks("/cdn/", Fault(reset_at=1000), times=1)
    hub.breaks("/cdn/", Fault(status=403), times=1)
    refused()
    hub.mend()
    fetch(TINY)
    assert [r.range for r in hub.requests("GET", "/cdn/")] == ["bytes=1000-"]
    assert not hub.requests(where="resolve/" + COMMIT + "/config.json")


def test_a_file_may_come_in_more_pieces_than_there_are_tries(hub, waits):
    for _ in range(20):
        hub.breaks("/cdn/", Fault(reset_at=10_000), times=1)
    folder = fetch(TINY)
    assert hashlib.sha256((folder / "model.safetensors").read_bytes()).digest() == (
        hashlib.sha256(WEIGHTS).digest()
    )
    assert waits == [2] * 20
    assert sum(r.sent for r in hub.requests("GET", "/cdn/")) == len(WEIGHTS)


def test_a_hub_that_ignores_ranges_costs_the_file_and_not_its_bytes(hub):
    hub.breaks("/cdn/", Fault(reset_at=1000), times=1)
    hub.breaks("/cdn/", Fault(ignore_range=True), times=1)
    folder = fetch(TINY)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert [r.sent for r in hub.requests("GET", "/cdn/")] == [1000, len(WEIGHTS)]


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_file_that_comes_damaged_is_dropped_and_fetched_once_more(hub, capsys, name):
    hub.breaks(name, Fault(), times=1 if name.startswith("model") else 0)  # the redirect
    hub.breaks(name, Fault(flip_at=7), times=1)
    folder = fetch(TINY)
    assert (folder / name).read_bytes() == FILES[name]
    assert f"lab/tiny: {name} came damaged (another checksum): once more" in capsys.readouterr().err


def test_a_file_that_comes_damaged_twice_is_named_and_not_kept(hub):
    hub.breaks("/cdn/", Fault(flip_at=7))
    assert refused() == (
        "lab/tiny: model.safetensors came damaged twice (its checksum is not "
        f"{etag('model.safetensors', WEIGHTS)[:12]}..., the hub's): something on the way changes "
        "it, such as a proxy; take another network, or use a local folder with tiny=FOLDER"
    )
    assert not list(cache.home(TINY).rglob("*.incomplete"))
    assert not (cache.snapshot(TINY) / "model.safetensors").exists()
    assert len(hub.requests("GET", "/cdn/")) == 2


def damage(path):
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(bytes(data))


def test_a_file_damaged_in_the_cache_is_named_dropped_and_fetched_again(hub, capsys):
    folder = fetch(TINY)
    damage(folder / "model.safetensors")
    hub.mend()
    fetch(TINY)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert len(hub.requests("GET", "/cdn/")) == 1
    assert "model.safetensors is damaged in the cache (another checksum): dropped" in (
        capsys.readouterr().err
    )


def test_a_file_is_read_for_its_checksum_once_and_again_when_it_was_touched(hub, monkeypatch):
    read = []
    matches = RemoteFile.matches
    monkeypatch.setattr(
        RemoteFile, "matches", lambda file, path: read.append(file.name) or matches(file, path)
    )
    folder = fetch(TINY)
    read.clear()
    fetch(TINY)
    assert read == []
    os.utime(folder / "model.safetensors", ns=(1, 1))
    fetch(TINY)
    assert read == ["model.safetensors"]
    fetch(TINY)
    assert read == ["model.safetensors"]


def test_without_its_memory_every_file_is_compared_again(hub, tmp_path):
    folder = fetch(TINY)
    damage(folder / "config.json")
    for path in (tmp_path / "outputs" / "cache").iterdir():
        path.write_text('{"request"')
    fetch(TINY)
    assert (folder / "config.json").read_bytes() == FILES["config.json"]


def test_offline_takes_what_is_there(hub, monkeypatch):
    folder = fetch(TINY)
    hub.mend()
    offline(monkeypatch)
    assert fetch(TINY) == folder
    assert hub.log == []


def test_offline_what_is_damaged_is_as_good_as_absent(hub, monkeypatch):
    folder = fetch(TINY)
    offline(monkeypatch)
    damage(folder / "model.safetensors")
    assert "its cache lacks model.safetensors and HF_HUB_OFFLINE" in refused()


def test_offline_without_a_cache_is_one_sentence(hub, monkeypatch):
    offline(monkeypatch)
    assert refused() == (
        "lab/tiny could not be had, no list of its files is in the cache and HF_HUB_OFFLINE keeps "
        "this process off the hub: unset it, or use a local folder with tiny=FOLDER"
    )
    assert hub.log == []


SHARDED = {
    "config.json": b"{}",
    "tokenizer.json": b"{}",
    "model-00001-of-00002.safetensors": b"1" * 999,
    "model-00002-of-00002.safetensors": b"2" * 999,
    "model.safetensors.index.json": b'{"weight_map": {"a": "model-00001-of-00002.safetensors", '
    b'"b": "model-00002-of-00002.safetensors"}}',
}


@pytest.mark.parametrize("lost", SHARDED)
@pytest.mark.parametrize("with_list", [True, False])
def test_a_part_of_a_model_is_never_taken_for_the_whole(
    hub, monkeypatch, tmp_path, lost, with_list
):
    hub.add("model", "lab/tiny", COMMIT, SHARDED)
    folder = fetch(TINY)
    (folder / lost).unlink()
    if not with_list:
        (next((tmp_path / "outputs" / "cache").iterdir())).unlink()
    with pytest.MonkeyPatch.context() as patch:
        offline(patch)
        what = f"its cache lacks {lost}" if with_list else "no list of its files is in the cache"
        assert what in refused()
    assert (fetch(TINY) / lost).read_bytes() == SHARDED[lost]


def test_pickled_weights_alone_are_refused_before_a_byte_is_fetched(hub):
    hub.add("model", "lab/tiny", COMMIT, {n: FILES[n] for n in FILES if n != "model.safetensors"})
    assert refused() == (
        f"lab/tiny has no *.safetensors at commit {COMMIT[:12]} (pickled weights are refused): "
        "take another, or use a local folder with tiny=FOLDER"
    )
    assert not hub.requests(where="/resolve/")


def test_a_disk_without_room_is_named_before_a_byte_is_fetched(hub, monkeypatch):
    usage = type("usage", (), {"free": 1000})
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda _: usage)
    assert " GiB on the disk of " in (sentence := refused())
    assert sentence.endswith("HF_HOME to a larger disk, or use a local folder with tiny=FOLDER")
    assert not hub.requests(where="/resolve/")


def test_a_disk_that_fills_up_meanwhile_is_one_sentence(hub, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(download.os, "fsync", full)
    assert refused().startswith("lab/tiny does not fit, the disk is full (")


def test_a_cache_that_cannot_be_written_is_one_sentence(hub, tmp_path):
    (tmp_path / "hub").write_text("a file where the folder was to be")
    assert refused().startswith(f"lab/tiny cannot be kept, {tmp_path / 'hub'}")


def test_a_token_goes_to_the_hub_and_not_to_its_file_servers(hub, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("huggingface_hub.utils._headers.get_token", lambda: "hf_secret")
    hub.breaks("/cdn/", Fault(status=503), times=1)
    fetch(TINY)
    assert all(r.has_token for r in hub.requests(where="/resolve/"))
    assert hub.requests(where="/cdn/") and not any(r.has_token for r in hub.requests(where="/cdn/"))
    kept = b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
    assert b"hf_secret" not in kept and SIGNATURE.encode() not in kept
    said = "".join(capsys.readouterr())
    assert "hf_secret" not in said and SIGNATURE not in said


@pytest.mark.parametrize("name", ["../../stolen.safetensors", "/tmp/stolen.safetensors"])
def test_a_file_name_that_leads_out_of_the_cache_is_refused(hub, tmp_path, name):
    hub.add("model", "lab/tiny", COMMIT, FILES | {name: b"!"})
    assert "what answers is not the hub" in refused()
    assert not list(tmp_path.rglob("stolen*"))


def test_two_threads_that_want_the_same_file_fetch_it_once(hub, capsys):
    hub.breaks("/cdn/", Fault(stall_at=200_000), times=1)
    threads = [threading.Thread(target=fetch, args=(TINY,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(r.sent for r in hub.requests("GET", "/cdn/")) == len(WEIGHTS)


def run(hub, home, *arguments, **variables):
    """Return what a process says that takes the stub for the hub: status, output, errors."""
    process = hub_client.start(hub, home, *arguments, **variables)
    output, errors = process.communicate(timeout=120)
    assert "Traceback" not in errors
    return process.returncode, output, errors


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        (
            {},
            "error: the dataset lab/none is not on the hub, or not for everyone (401): check the "
            "name, set HF_TOKEN if it is private, or give a local .json, .jsonl or .parquet file "
            "instead\n",
        ),
        (
            {"HF_HUB_OFFLINE": "1"},
            "error: the dataset lab/none could not be had, no list of its files is in the cache "
            "and HF_HUB_OFFLINE keeps this process off the hub: unset it, or give a local .json, "
            ".jsonl or .parquet file instead\n",
        ),
    ],
)
def test_the_command_line_ends_in_that_sentence(hub, tmp_path, variables, sentence):
    command = [sys.executable, "-m", "alpaca_lab", "data", "--data", f"lab/none@{COMMIT}"]
    done = subprocess.run(
        command,
        env=os.environ | hub.environment(tmp_path, **variables),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout, done.stderr) == (2, "", sentence)


@pytest.mark.model
def test_a_stage_ends_in_that_sentence(hub, tmp_path, small_study):
    study = replace(small_study, models=(MODELS["llama-2-7b"],))
    prepare(study, record=Record(tmp_path / "study"))
    model = study.models[0]
    hub.add("model", model.source, model.revision, FILES)
    hub.breaks("/resolve/", Fault(status=403, headers=GATED))
    stage = ["command", "finetune", "--spec", str(tmp_path / "study" / "study.json")]
    status, _, errors = run(hub, tmp_path / "home", *stage, HF_TOKEN="hf_secret")
    assert (status, errors) == (
        2,
        "error: meta-llama/Llama-2-7b-hf is gated: accept its licence on the hub and set "
        "HF_TOKEN, or use a local folder with llama-2-7b=FOLDER\n",
    )


def test_a_process_that_is_killed_within_a_file_leaves_its_bytes_to_the_next(hub, tmp_path):
    files = FILES | {"model.safetensors": random.Random(1).randbytes(3_000_000)}
    hub.add("model", "lab/tiny", COMMIT, files)
    hub.breaks("/cdn/", Fault(stall_at=2_000_000), times=1)
    process = hub_client.start(hub, tmp_path, "model", "lab/tiny", COMMIT)
    part = cache.home(TINY).relative_to(tmp_path)  # "hub" below HF_HOME, as in this process
    blobs = tmp_path / part / "blobs"
    while sum(p.stat().st_size for p in blobs.glob("*.incomplete")) < 1_900_000:
        time.sleep(0.02)
    process.kill()
    process.communicate()
    hub.mend()
    status, output, _ = run(hub, tmp_path, "model", "lab/tiny", COMMIT)
    assert status == 0
    expected = hashlib.sha256(files["model.safetensors"]).hexdigest()
    assert json.loads(output.splitlines()[-1])["model.safetensors"] == expected
    [rest] = hub.requests("GET", "/cdn/")
    assert rest.range.startswith("bytes=19") or rest.range == "bytes=2000000-"
    assert rest.sent < 1_100_001
