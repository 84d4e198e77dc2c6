"""Section "network": a hub on this machine that breaks off, lies, refuses and is not there."""

import hashlib
import random
import shutil
import time

import hub_client
from findings import Finding, Section
from hub_place import NAME, OTHER, ROWS, SHARDS, alone, place, until
from hub_stub import COMMIT, Fault
from network_refusals import REFUSALS, refusals

from alpaca_lab.hub import patience


def run(seed: int, share: float) -> Section:
    """Break the hub in each way; `share` of the times."""
    draw = random.Random(seed)

    def times(most: int) -> int:
        return max(1, round(most * share))

    return Section(
        title="Network",
        what=(
            "A hub on this machine, of the endpoints that huggingface_hub 1.33 calls, serves the "
            "embedded tiny LLaMA in two shards and a small dataset. Each time a new process "
            "fetches from it through the study's own functions."
        ),
        findings=[
            disconnects(draw, times(20)),
            kills(draw, times(20)),
            stalls(draw, times(5)),
            busy(draw, times(20)),
            asked_to_wait(times(3)),
            damaged_on_the_way(draw, times(20)),
            damaged_in_the_cache(draw, times(20)),
            parts(times(5)),
            offline(times(10)),
            other_commit(times(3)),
            *refusals(times(len(REFUSALS))),
        ],
    )


def disconnects(draw: random.Random, times: int) -> Finding:
    """Reset the connection up to three times within a download, at random bytes."""
    whole, again, resets, ranges = 0, 0, 0, 0
    for _ in range(times):
        with place() as at:
            count = draw.randint(1, 3)
            for _ in range(count):
                at.hub.breaks("/cdn/", Fault(reset_at=draw.randrange(1, at.large // 8)), times=1)
            whole += at.is_whole(at.run())
            again += at.sent() - at.large
            resets += count
            ranges += sum(r.range is not None for r in at.hub.requests("GET", "/cdn/"))
    alone = drawn_again_by_the_client_alone(draw, min(times, 5))
    return Finding(
        fault="connection reset within a file",
        times=resets,
        wanted="every file equal by sha256; one Range request per reset; no byte sent twice",
        found=f"{whole} of {times} downloads whole, {ranges} Range requests, {again:,} bytes sent "
        f"twice; {alone}",
        held=whole == times and ranges == resets and again == 0,
    )


def drawn_again_by_the_client_alone(draw: random.Random, times: int) -> str:
    """Return in words what `snapshot_download` on its own makes of one reset."""
    code = f"import huggingface_hub as h; h.snapshot_download({NAME!r}, revision={COMMIT!r})"
    starts = again = 0
    for _ in range(times):
        with place() as at:
            at.hub.breaks("/cdn/", Fault(reset_at=draw.randrange(1, at.large // 8)), times=1)
            for _ in range(3):  # started again by hand, as its user would
                starts += 1
                if alone(at, code).returncode == 0:
                    break
            again += at.sent() - at.large
    return (
        f"huggingface_hub alone, one reset in each of {times} downloads: {starts} starts, "
        f"{again:,} bytes sent twice"
    )


def kills(draw: random.Random, times: int) -> Finding:
    """SIGKILL the process at a random byte of a shard; start it again."""
    whole = again = 0
    for _ in range(times):
        with place() as at:
            stop = draw.randrange(100_000, len(at.files[SHARDS[0]]))
            at.hub.breaks("/cdn/", Fault(stall_at=stop), times=1)
            process = hub_client.start(at.hub, at.home, *at.model)
            until(lambda at=at, stop=stop: at.sent() >= stop)
            time.sleep(draw.random() * 0.2)
            process.kill()
            process.communicate()
            whole += at.is_whole(at.run())
            again += at.sent() - at.large
    return Finding(
        fault="SIGKILL within a file",
        times=times,
        wanted="the next process goes on: every file equal by sha256; at most 256 KiB sent twice "
        "per kill (what was under way)",
        found=f"{whole} of {times} whole, {again / times / 1024:.0f} KiB sent twice per kill",
        held=whole == times and again <= times * 256 * 1024,
    )


def stalls(draw: random.Random, times: int) -> Finding:
    """Send nothing more, with the line open, from a random byte on; with a limit of 1 s."""
    whole, again, longest = 0, 0, 0.0
    for _ in range(times):
        with place() as at:
            at.hub.breaks("/cdn/", Fault(stall_at=draw.randrange(at.large // 4)), times=1)
            ended = at.run(HF_HUB_DOWNLOAD_TIMEOUT="1")
            whole += at.is_whole(ended)
            again += at.sent() - at.large
            longest = max(longest, ended.seconds)
    return Finding(
        fault="hub falls silent within a file",
        times=times,
        wanted="with a limit of 1 s: given up, resumed and whole within 20 s, nothing sent twice",
        found=f"{whole} of {times} whole, {again:,} bytes sent twice, the longest in "
        f"{longest:.1f} s",
        held=whole == times and again == 0 and longest < 20,
    )


def busy(draw: random.Random, times: int) -> Finding:
    """Answer 500 to 504 a random number of times, at a random one of the three endpoints."""
    right = tries = 0
    for _ in range(times):
        with place() as at:
            status, count = draw.choice((500, 502, 503, 504)), draw.randint(1, 6)
            where = draw.choice(("/api/models/", "/resolve/", "/cdn/"))
            at.hub.breaks(where, Fault(status=status), times=count)
            ended = at.run()
            said = ended.said.count(f"the hub does not answer ({status}): try ")
            gave_up = count >= patience.TRIES
            as_wanted = ended.sentence is not None if gave_up else at.is_whole(ended)
            right += as_wanted and said == min(count, patience.TRIES - 1)
            tries += said
    return Finding(
        fault="500, 502, 503 or 504, one to six in a row",
        times=times,
        wanted=f"up to {patience.TRIES - 1}: whole, a printed line per further try; more: one "
        "sentence, exit status 2",
        found=f"{right} of {times} as wanted, {tries} further tries",
        held=right == times,
    )


def asked_to_wait(times: int) -> Finding:
    """Answer 429 with Retry-After: 1, twice."""
    right, shortest = 0, float("inf")
    for _ in range(times):
        with place() as at:
            at.hub.breaks("/cdn/", Fault(status=429, headers={"Retry-After": "1"}), times=2)
            ended = at.run()
            right += at.is_whole(ended)
            shortest = min(shortest, ended.seconds)
    return Finding(
        fault="429 with Retry-After: 1, twice",
        times=times,
        wanted="whole, after 2 s of waiting or more",
        found=f"{right} of {times} whole, the shortest in {shortest:.1f} s",
        held=right == times and shortest >= 2,
    )


def damaged_on_the_way(draw: random.Random, times: int) -> Finding:
    """Flip one random bit of a random file as it is sent: once, or each time."""
    restored = refused = 0
    for number in range(times):
        with place() as at:
            name = draw.choice(sorted(at.files))
            where = f"/cdn/{_sha256(at.files[name])}" if name in SHARDS else f"/{name}"
            flip = Fault(flip_at=draw.randrange(len(at.files[name])))
            if number % 2:
                at.hub.breaks(where, flip)
                ended = at.run()
                kept = (at.snapshot / name).exists()
                refused += ended.sentence is not None and name in ended.sentence and not kept
            else:
                at.hub.breaks(where, flip, times=1)
                ended = at.run()
                restored += at.is_whole(ended) and f"{name} came damaged" in ended.said
    return Finding(
        fault="a bit flipped on the way",
        times=times,
        wanted="once: noticed, fetched again, whole; each time: one sentence, the file not kept",
        found=f"{restored} of {(times + 1) // 2} restored, {refused} of {times // 2} refused",
        held=restored == (times + 1) // 2 and refused == times // 2,
    )


def damaged_in_the_cache(draw: random.Random, times: int) -> Finding:
    """Flip a bit of a cached file, or cut it short."""
    restored, more = 0, 0
    with place() as at:
        at.run()
        for _ in range(times):
            name = draw.choice(sorted(at.files))
            path, data = at.snapshot / name, bytearray(at.files[name])
            spot = draw.randrange(len(data))
            if draw.random() < 0.5:
                data[spot] ^= 1 << draw.randrange(8)
            else:
                del data[spot:]
            path.write_bytes(data)
            at.hub.mend()
            ended = at.run()
            restored += at.is_whole(ended) and f"{name} is damaged in the cache" in ended.said
            others = [r for r in at.hub.requests("GET", "/resolve/") if not r.path.endswith(name)]
            more += len(others)
    return Finding(
        fault="a cached file with a bit flipped, or cut short",
        times=times,
        wanted="noticed at the next start, that file alone fetched again, whole",
        found=f"{restored} of {times} restored, {more} other files asked for",
        held=restored == times and more == 0,
    )


def parts(times: int) -> Finding:
    """Take one file of the model out of the cache, with and without what we know of it."""
    refused = restored = tried = 0
    with place() as at:
        at.run()
        for name in sorted(at.files)[:times]:
            for forgets in (False, True):
                (at.snapshot / name).unlink()
                if forgets:
                    shutil.rmtree(at.home / "outputs")
                tried += 1
                refused += at.run(HF_HUB_OFFLINE="1").sentence is not None
                restored += at.is_whole(at.run())
    return Finding(
        fault="a part of the model in the cache",
        times=tried,
        wanted="offline: never taken for the whole, one sentence; online: whole again",
        found=f"{refused} of {tried} refused offline, {restored} restored online",
        held=refused == restored == tried,
    )


def offline(times: int) -> Finding:
    """Start again with everything there: with the hub, without it, and switched off."""
    right = requests = 0
    with place() as at:
        first = at.run()
        at.hub.mend()
        seconds = []
        for number in range(times):
            variables = {"HF_HUB_OFFLINE": "1"} if number % 2 else {}
            ended = at.run(**variables)
            right += at.is_whole(ended)
            seconds.append(ended.seconds)
        requests = len(at.hub.log)
    return Finding(
        fault="started again with everything in the cache",
        times=times,
        wanted="whole without a request, HF_HUB_OFFLINE set or not",
        found=f"{right} of {times} whole, {requests} requests; {first.seconds:.1f} s at first, "
        f"{sorted(seconds)[len(seconds) // 2]:.1f} s then",
        held=right == times and requests == 0,
    )


def other_commit(times: int) -> Finding:
    """Ask for a dataset's commit while the hub is down and another commit is in the cache."""
    refused = 0
    with place() as at:
        at.run("dataset", ROWS, OTHER)
        at.hub.breaks("", Fault(status=503))
        for _ in range(times):
            refused += at.run("dataset", ROWS, COMMIT).sentence is not None
    with place() as at:
        code = (
            "import datasets, sys; rows = datasets.load_dataset('lab/rows', revision=sys.argv[1], "
            "split='train'); print(len(rows), 'rows')"
        )
        read = alone(at, code, OTHER).stdout.strip()
        read_then = alone(at, code, COMMIT, HF_HUB_OFFLINE="1").stdout.strip() or "an error"
    return Finding(
        fault="hub down, another commit of the dataset in the cache",
        times=times,
        wanted="one sentence; never the other commit's rows",
        found=f"{refused} of {times} refused; `datasets` alone, which had read the other commit "
        f"({read}), returned for this one of 5: {read_then}",
        held=refused == times,
    )


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
