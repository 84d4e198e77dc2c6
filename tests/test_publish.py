"""An export on its way to the hub: private unless said otherwise, and no token in it."""

import json

import pytest

from alpaca_lab.config import SettingError
from alpaca_lab.exports import publish, secrets
from upload_hub import TOKEN


@pytest.fixture
def hub(upload_hub):
    """The one that is uploaded to."""
    return upload_hub


@pytest.fixture
def folder(tmp_path):
    """An export of a few bytes."""
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "README.md").write_text("# Tiny\n")
    (folder / "SHA256SUMS").write_text("0\n")
    return folder


def test_repository_is_private_unless_it_is_said(hub, folder):
    publish.check("me/tiny", public=False)
    assert publish.push(folder, "me/tiny", public=False) == f"{hub.url}/me/tiny"
    assert hub.private == {"me/tiny": True}
    assert hub.files == {"README.md": b"# Tiny\n", "SHA256SUMS": b"0\n"}


def test_repository_is_public_where_it_is_said(hub, folder):
    publish.push(folder, "me/tiny", public=True)
    assert hub.private == {"me/tiny": False} and len(hub.files) == 2


def test_public_repository_takes_nothing_that_was_to_be_private(hub, folder):
    hub.private["me/tiny"] = False
    for refused in (publish.check, lambda *a, **k: publish.push(folder, *a, **k)):
        with pytest.raises(SettingError, match="is on the hub and public, and a private one"):
            refused("me/tiny", public=False)
    assert hub.files == {}


def test_private_repository_is_not_taken_for_a_public_one(hub, folder):
    hub.private["me/tiny"] = True
    with pytest.raises(SettingError, match="is on the hub and private, and --public was said"):
        publish.check("me/tiny", public=True)


def test_organisation_that_makes_everything_public_gets_nothing_private(hub, folder):
    hub.always_public = True
    with pytest.raises(SettingError, match="is on the hub and public"):
        publish.push(folder, "team/tiny", public=False)
    assert hub.files == {}


def test_second_export_goes_into_the_same_private_repository(hub, folder):
    publish.push(folder, "me/tiny", public=False)
    (folder / "README.md").write_text("# Tiny, again\n")
    publish.check("me/tiny", public=False)
    publish.push(folder, "me/tiny", public=False)
    assert hub.files["README.md"] == b"# Tiny, again\n"


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "does not know the token"),
        (403, "may not write there"),
        (500, "does not answer (500)"),
    ],
)
def test_refusal_is_one_sentence_without_the_token_that_the_hub_quotes(hub, folder, status, words):
    hub.refuses = status
    with pytest.raises(SettingError) as refused:
        publish.push(folder, "me/tiny", public=False)
    assert words in str(refused.value) and TOKEN not in str(refused.value)
    assert refused.value.__cause__ is None and refused.value.__suppress_context__


def test_hub_that_is_not_there_is_one_sentence(hub, folder, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(SettingError, match="the hub cannot be reached: check the network"):
        publish.check("me/tiny", public=False)


def test_process_that_is_kept_off_the_hub_says_so(hub, folder, monkeypatch):
    from huggingface_hub import close_session, constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    close_session()
    with pytest.raises(SettingError, match="HF_HUB_OFFLINE keeps this process off the hub"):
        publish.check("me/tiny", public=False)


def test_nobody_is_logged_in(monkeypatch):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(SettingError, match="no hub token is set: set HF_TOKEN"):
        publish.check("me/tiny", public=False)


@pytest.mark.parametrize("name", ["tiny", "../tiny", "me/tiny/more", "https://hub/me/tiny"])
def test_what_is_no_name_of_the_hub_is_refused(name):
    with pytest.raises(SettingError, match="expected owner/name of the hub"):
        publish.check(name, public=False)


@pytest.mark.parametrize("name", ["README.md", "model.safetensors", "model.gguf"])
def test_file_with_a_token_is_not_published(hub, folder, name):
    """In a file of weights where its words are: before the numbers."""
    text = json.dumps({"__metadata__": {"token": TOKEN}}).encode()
    start = len(text).to_bytes(8, "little") if name.endswith("safetensors") else b""
    (folder / name).write_bytes(start + text)
    with pytest.raises(SettingError, match=f"{name} holds what looks like a hub token") as refused:
        publish.push(folder, "me/tiny", public=False)
    assert TOKEN not in str(refused.value)
    assert hub.private == {} and hub.files == {}


def test_token_of_another_form_is_known_while_it_is_in_use(tmp_path):
    path = tmp_path / "README.md"
    path.write_text("my token is 12345-abc")
    assert secrets.find([path], known="12345-abc") == ("hub token", path)
    assert secrets.find([path], known=None) is None


def test_numbers_that_look_like_a_secret_are_none(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes((2).to_bytes(8, "little") + b"{}" + b"p://a:" + b"b@")
    assert secrets.find([path], known=None) is None
