"""Which requirements a machine gets; nothing is installed here."""

import hashlib
import re
import stat
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from alpaca_lab import install
from alpaca_lab.requirements import audit, lock

TEXT = """
torch==2.13.0        # [keep] tensors
peft==0.21.2         # LoRA
unsloth==2026.10.9   # [no-deps] kernels
torchao==0.17.0      # [gpu] [no-deps] imported by Unsloth
-e .
"""
REQUIREMENTS = Path(install.ROOT, "requirements.txt").read_text()


def test_cpu_machine_gets_nothing_of_the_gpu():
    plain, bare = install.select(TEXT, gpu=False, colab=False)
    assert plain == ["torch==2.13.0", "peft==0.21.2", "-e ."]
    assert bare == ["unsloth==2026.10.9"]


def test_gpu_machine_gets_unsloths_parts():
    assert install.select(TEXT, gpu=True, colab=False)[1] == [
        "unsloth==2026.10.9",
        "torchao==0.17.0",
    ]


def test_colab_keeps_what_it_ships():
    assert "torch==2.13.0" not in install.select(TEXT, gpu=True, colab=True)[0]


# Colab

OF_COLAB = """
torch==2.13.0        # [keep] tensors
transformers==5.17.0 # [from 5.15 below 5.18] models
datasets==4.8.5      # [from 4.2] rows
peft==0.21.2         # [from 0.20] LoRA
trl==1.14.2          # SFTTrainer
torchao==0.17.0      # [gpu] [no-deps] [from 0.16] PEFT refuses an older one
tyro==1.0.17         # [gpu] imported by Unsloth
pytest==9.2.0        # [local] make test
-e .
"""
SHIPPED = {
    "torch": "2.11.0+cu128", "transformers": "5.15.0", "datasets": "4.0.0", "peft": "0.20.0",
    "torchao": "0.10.0", "numpy": "2.1.3",
}  # fmt: skip


def test_colab_gets_what_it_lacks_and_what_does_not_serve_and_nothing_else():
    plain, bare = install.select(OF_COLAB, gpu=False, colab=True, shipped=SHIPPED)
    assert plain == ["datasets==4.8.5", "trl==1.14.2", "-e ."]
    assert bare == ["torchao==0.17.0"]  # without a GPU too, for it is there and too old
    plain, _ = install.select(OF_COLAB, gpu=True, colab=True, shipped=SHIPPED)
    assert plain == ["datasets==4.8.5", "trl==1.14.2", "tyro==1.0.17", "-e ."]


@pytest.mark.parametrize(
    ("version", "serves"),
    [("5.14.9", False), ("5.15", True), ("5.15.0", True), ("5.17.3", True), ("5.18", False),
     ("5.18.0", False), ("5.9.1", False), ("6.0", False)],
)  # fmt: skip
def test_shipped_version_serves_within_its_bounds(version, serves):
    plain, _ = install.select(
        OF_COLAB, gpu=False, colab=True, shipped={**SHIPPED, "transformers": version}
    )
    assert ("transformers==5.17.0" not in plain) is serves


def test_elsewhere_a_bound_changes_nothing():
    plain, bare = install.select(OF_COLAB, gpu=True, colab=False)
    assert "transformers==5.17.0" in plain and "pytest==9.2.0" in plain and len(plain + bare) == 9


def test_versions_that_a_bound_names_are_older_than_the_pin():
    for line in REQUIREMENTS.splitlines():
        if bounds := re.search(r"^(\S+)==(\S+).*\[from ([\d.]+)(?: below ([\d.]+))?\]", line):
            name, pin, least, below = bounds.groups()
            assert install._release(least) <= install._release(pin), name
            assert below is None or install._release(pin) < install._release(below), name


def test_what_colab_ships_serves_where_it_was_run_so():
    """The versions of one Colab image; the notebook was run on them by tests/colab."""
    text = Path(install.ROOT, "tests/colab/shipped.txt").read_text()
    shipped = dict(line.split("==") for line in text.splitlines() if not line.startswith("#"))
    plain, bare = install.select(REQUIREMENTS, gpu=False, colab=True, shipped=shipped)
    changed = [line for line in plain + bare if install._name(line) in shipped]
    assert changed == ["datasets==4.8.5", "pyarrow==26.0.1", "torchao==0.17.0"]


def calls_of_pip(monkeypatch, *statuses):
    """Let pip end with these statuses; return its calls, a file given by -r or -c as its lines."""
    calls, left = [], list(statuses)

    def run(command, **_):
        words = [
            Path(word).read_text().split() if before in ("-r", "-c") else word
            for before, word in zip(command, command[1:], strict=False)
        ]
        calls.append(words[words.index("-q") + 1 :])
        return subprocess.CompletedProcess(command, left.pop(0))

    monkeypatch.setattr(install.subprocess, "run", run)
    return calls


def test_everything_shipped_is_pinned_but_for_what_must_change(monkeypatch):
    calls = calls_of_pip(monkeypatch, 0, 0)
    install.install_on_colab(
        ["datasets==4.8.5", "trl==1.14.2"], ["torchao==0.17.0"], shipped=SHIPPED, kept=["torch"]
    )
    pins = ["torch==2.11.0+cu128", "transformers==5.15.0", "peft==0.20.0", "numpy==2.1.3"]
    assert calls == [
        ["-r", ["datasets==4.8.5", "trl==1.14.2"], "-c", pins],
        ["--no-deps", "torchao==0.17.0"],
    ]


def test_later_colab_that_fits_in_no_other_way_keeps_what_is_tied_to_it(monkeypatch, capsys):
    calls = calls_of_pip(monkeypatch, 1, 0, 0)
    shipped = {**SHIPPED, "nvidia-cublas-cu12": "12.8.4.1", "google-colab": "1.0.0"}
    install.install_on_colab(["trl==1.14.2"], ["x==1"], shipped=shipped, kept=["numpy"])
    again = calls[1]
    assert again[again.index("--upgrade-strategy") + 1] == "only-if-needed"
    assert again[-1] == [
        "torch==2.11.0+cu128", "torchao==0.10.0", "numpy==2.1.3", "nvidia-cublas-cu12==12.8.4.1",
        "google-colab==1.0.0",
    ]  # fmt: skip
    assert "it may change what is not tied to the machine" in capsys.readouterr().out


def test_pip_that_fails_twice_stops_the_install(monkeypatch):
    calls_of_pip(monkeypatch, 1, 1)
    with pytest.raises(SystemExit, match="pip could not install"):
        install.install_on_colab(["trl==1.14.2"], [], shipped=SHIPPED, kept=[])


def test_changes_are_told_with_old_and_new_version():
    before = {"torch": "2.11.0", "pyarrow": "18.1.0", "old": "1", "numpy": "2.1.3", "other": "1"}
    after = {
        "torch": "2.11.0",
        "pyarrow": "26.0.1",
        "trl": "1.14.2",
        "numpy": "2.1.3",
        "other": "1",
    }
    assert install.changes(before, after).splitlines() == [
        "   added: trl 1.14.2",
        " changed: pyarrow 18.1.0 -> 26.0.1, old 1 -> none",
        "    kept: torch 2.11.0, numpy 2.1.3 and 1 more",
    ]
    assert " changed: nothing" in install.changes(before, before)


def test_package_changed_under_a_running_kernel_stops_with_the_cure():
    before, after = {"pyarrow": "18.1.0", "numpy": "2.1.3"}, {"pyarrow": "26.0.1", "numpy": "2.1.3"}
    install.require_fresh(before, after, {"numpy"})
    with pytest.raises(SystemExit, match=r"pyarrow \(18.1.0 -> 26.0.1\) was imported .* Restart"):
        install.require_fresh(before, after, {"numpy", "pyarrow"})


def test_packages_in_use_are_told_by_their_imported_modules():
    assert "pytest" in install.in_use()
    assert "papermill" not in install.in_use()


def test_installed_packages_are_told_without_importing_one():
    code = (
        "import runpy, sys; m = runpy.run_path('src/alpaca_lab/install.py'); "
        "found = m['installed'](); print(found['numpy'], 'numpy' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=install.ROOT, check=True
    )
    assert done.stdout.split() == [metadata.version("numpy"), "False"]


def test_every_requirement_is_pinned_and_says_why():
    for line in REQUIREMENTS.splitlines():
        if line and not line.startswith(("#", "-e")):
            requirement, _, why = line.partition("#")
            assert "==" in requirement, line
            assert len(why.split()) >= 2, line


def test_cuda_wheel_is_refused_on_a_cpu_machine(monkeypatch):
    """Several GB of CUDA on a machine without a GPU is never an accident that goes unsaid."""
    monkeypatch.setattr(install.platform, "system", lambda: "Linux")
    monkeypatch.setattr(install, "reachable", lambda url: False)
    monkeypatch.setattr(install, "needs_cuda", lambda requirement: True)
    monkeypatch.setattr(install, "pip", lambda *arguments: pytest.fail("installed all the same"))
    with pytest.raises(SystemExit, match="no CPU build of torch"):
        install.install_cpu_torch("torch==2.13.0")


def test_cpu_index_is_taken_when_it_answers(monkeypatch):
    calls = []
    monkeypatch.setattr(install.platform, "system", lambda: "Linux")
    monkeypatch.setattr(install, "reachable", lambda url: True)
    monkeypatch.setattr(install, "pip", lambda *arguments: calls.append(arguments))
    install.install_cpu_torch("torch==2.13.0")
    assert calls == [("--no-deps", "torch==2.13.0", "--index-url", install.TORCH_CPU_INDEX)]


# The lock

LOCK = install.LOCK.read_text(encoding="utf-8")
ENTRY = re.compile(
    r"(?m)^(?P<name>[^\s#=]+)==(?P<version>[^\s;]+)(?: ;[^\\\n]*)?(?P<rest>.*(?:\n    .*)*)"
)


def test_lock_pins_what_the_requirements_ask_for_on_a_machine_without_a_gpu():
    plain, bare = install.select(REQUIREMENTS, gpu=False, colab=False)
    assert install.unlocked(plain + bare, LOCK) == []
    assert install.unlocked(["torch==2.13.1", "a_b==1"], "a-b==1 \\\n") == ["torch==2.13.1"]


def test_every_entry_of_the_lock_has_a_version_and_a_sha256_and_nothing_else():
    entries = list(ENTRY.finditer(LOCK))
    assert len(entries) > 150
    assert "".join(entry[0] for entry in entries) == re.sub(r"(?m)^#.*\n|\n(?! {4})", "", LOCK)
    for entry in entries:
        hashes = re.sub(r" \\\n    --hash=sha256:[0-9a-f]{64}", "", " " + entry["rest"].strip())
        assert hashes.strip() in ("", "\\"), entry["name"]
        assert entry["rest"].count("--hash=sha256:") >= 1, entry["name"]


def test_lock_holds_nothing_of_cuda_and_of_torch_the_build_for_macos_alone():
    names = {entry["name"] for entry in ENTRY.finditer(LOCK)}
    assert not [name for name in names if name.startswith(("nvidia", "cuda", "triton"))]
    assert re.findall(r"(?m)^torch==.*$", LOCK) == ["torch==2.13.0 ; sys_platform == 'darwin' \\"]
    assert "://" not in LOCK  # no index of a machine


def test_requirement_that_is_not_locked_stops_the_install_before_anything_is_fetched(monkeypatch):
    monkeypatch.setattr(install, "pip", lambda *arguments: pytest.fail("installed all the same"))
    with pytest.raises(SystemExit, match=r"does not pin torch==9\.9, .* run `make lock`"):
        install.install_locked(["torch==9.9"])


def test_everything_of_the_lock_is_installed_by_hash_alone(monkeypatch):
    calls = []
    monkeypatch.setattr(install.platform, "system", lambda: "Linux")
    monkeypatch.setattr(install, "install_cpu_torch", calls.append)
    monkeypatch.setattr(install, "pip", lambda *arguments: calls.append(arguments))
    install.install_locked(["torch==2.13.0"])
    torch, *locked, project = calls
    assert torch == "torch==2.13.0"
    for arguments in locked:
        assert {"--require-hashes", "--no-deps", "--no-build-isolation"} <= set(arguments)
    assert project == ("--no-deps", "--no-build-isolation", "-e", ".")


def test_wheel_with_another_sha256_is_not_installed(tmp_path, monkeypatch, capfd):
    """The real pip, on a package that is built here: no index is asked."""
    wheel = tmp_path / "made_up-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("made_up.py", "")
        file.writestr("made_up-1.0.dist-info/METADATA", "Name: made-up\nVersion: 1.0\n")
        file.writestr("made_up-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        file.writestr("made_up-1.0.dist-info/RECORD", "")
    for name, value in (
        ("PIP_NO_INDEX", "1"), ("PIP_FIND_LINKS", str(tmp_path)),
        ("PIP_TARGET", str(tmp_path / "here")), ("PIP_CONFIG_FILE", "/dev/null"),
    ):  # fmt: skip
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit, match="pip could not install"):
        install.pip_locked(f"made-up==1.0 \\\n    --hash=sha256:{'0' * 64}\n")
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in capfd.readouterr().err
    with pytest.raises(SystemExit):
        install.pip_locked("made-up==1.0\n")
    assert not (tmp_path / "here").exists()
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    install.pip_locked(f"made-up==1.0 \\\n    --hash=sha256:{digest}\n")
    assert (tmp_path / "here" / "made_up.py").is_file()


def test_lock_is_made_of_the_requirements_and_of_what_builds_them(tmp_path, monkeypatch, capsys):
    """With a uv that answers what it was asked, and no index."""
    code = "import sys; print(open(sys.argv[-1]).read().replace('\\n', ' \\\\\\n'))"
    uv = script(tmp_path / "uv", code)
    monkeypatch.setattr(lock, "LOCK", tmp_path / "requirements.lock")
    lock.main(uv)
    text = (tmp_path / "requirements.lock").read_text()
    assert text.startswith("# Written by `make lock`")
    assert "torch==2.13.0 ; sys_platform == 'darwin' \\" in text
    assert "setuptools>=77" in text and "unsloth==" in text and "-e ." not in text
    assert "torchvision" not in text


# Known vulnerabilities

KNOWN = {"name": "jinja2", "version": "2.4.1", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]}
FINE = {"name": "numpy", "version": "2.4.6", "vulns": []}
SKIPPED = {"name": "numpy", "skip_reason": "not found"}


def script(path, code):
    path.write_text(f"#!{sys.executable}\n{code}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def pip_audit(folder, control, ours):
    """A pip-audit that knows this of the control package, and this of all others."""
    return script(
        folder / "pip-audit",
        "import json, sys\n"
        f"known = {control!r} if 'jinja2==2.4.1' in open(sys.argv[-1]).read() else {ours!r}\n"
        "print(json.dumps({'dependencies': known}))",
    )


@pytest.mark.parametrize(
    ("control", "ours", "status", "sentence"),
    [
        ([KNOWN], [FINE], audit.NONE_KNOWN, "0 known vulnerabilities in 1 packages"),
        ([KNOWN], [KNOWN, FINE], audit.SOME_KNOWN, "jinja2 2.4.1: PYSEC-1, mended in 3"),
        ([KNOWN], [FINE, SKIPPED], audit.NONE_KNOWN, "the database does not have numpy"),
        ([SKIPPED], [SKIPPED], audit.NOT_ASKED, "nothing was checked"),
        ([FINE], [FINE], audit.NOT_ASKED, "nothing was checked"),
        ([], [], audit.NOT_ASKED, "nothing was checked"),
    ],
)
def test_audit_tells_no_news_from_good_news(tmp_path, capsys, control, ours, status, sentence):
    assert audit.main(pip_audit(tmp_path, control, ours)) == status
    assert sentence in capsys.readouterr().out


def test_every_pinned_package_is_audited():
    asked = {re.split("[=; ]", line)[0] for line in audit.pinned()}
    wanted = re.findall(r"(?m)^([\w-]+)==", REQUIREMENTS)
    assert {name.replace("_", "-") for name in wanted} <= {name.replace("_", "-") for name in asked}
    assert {"torch", "torchvision", "mpmath"} <= asked


def test_no_pinned_package_has_a_known_vulnerability():
    """Against a real database, where one can be reached."""
    tool = Path(sys.executable).with_name("pip-audit")
    tool = tool if tool.is_file() else install.ROOT / ".venv/tools/bin/pip-audit"
    if not tool.is_file():
        pytest.skip("pip-audit is not installed; run `make audit` once")
    command = [sys.executable, "-m", "alpaca_lab.requirements.audit", str(tool)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=install.ROOT)
    if done.returncode == audit.NOT_ASKED:
        pytest.skip(done.stdout.strip())
    assert done.returncode == audit.NONE_KNOWN, done.stdout
