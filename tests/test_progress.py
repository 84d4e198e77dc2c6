"""A stage's bar crosses the pipe and comes out as it was."""

import json

from alpaca_lab import progress
from alpaca_lab.decoding.pace import BAR


def piped_lines(capsys, monkeypatch):
    monkeypatch.setenv(progress.PIPE_VARIABLE, "json")
    with progress.Bar(total=3, desc="Decode", unit="answer", mininterval=0) as bar:
        bar.set_postfix_str("greedy", refresh=False)
        for _ in range(3):
            bar.update()
    monkeypatch.delenv(progress.PIPE_VARIABLE)
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith(progress.MARK)]


def test_stage_writes_its_bar_as_lines(capsys, monkeypatch):
    states = [
        json.loads(line.removeprefix(progress.MARK)) for line in piped_lines(capsys, monkeypatch)
    ]
    assert states[-1] | {"prefix": "Decode: "} == {
        "n": 3, "total": 3, "prefix": "Decode: ", "unit": "answer", "postfix": "greedy",
        "bar_format": None,
    }  # fmt: skip


def test_reader_sees_the_stages_bar(capsys, monkeypatch):
    bar = None
    for line in piped_lines(capsys, monkeypatch):
        bar = progress.redraw(bar, line)
    bar.close()
    shown = capsys.readouterr().err
    assert "Decode" in shown and "3/3" in shown and "greedy" in shown


def test_reader_sees_the_pace_where_the_stage_has_one(capsys, monkeypatch):
    monkeypatch.setenv(progress.PIPE_VARIABLE, "json")
    with progress.Bar(total=9, desc="Decode", bar_format=BAR) as bar:
        bar.set_postfix_str("02:05 left, 889 tokens/s, 3 of 14 cells", refresh=False)
        bar.update(3)
    monkeypatch.delenv(progress.PIPE_VARIABLE)
    *_, line = capsys.readouterr().out.splitlines()
    drawn = progress.redraw(None, line)
    shown = str(drawn)
    drawn.close()
    assert shown.startswith("Decode:  33%|")
    assert shown.endswith("| 3/9 [00:00, 02:05 left, 889 tokens/s, 3 of 14 cells]")


def test_second_bar_of_a_stage_begins_anew(capsys):
    plain = {"postfix": None, "bar_format": None}
    first = progress.MARK + json.dumps(
        {"n": 5, "total": 5, "prefix": "Tokenise: ", "unit": "row"} | plain
    )
    second = progress.MARK + json.dumps(
        {"n": 1, "total": 9, "prefix": "Finetune: ", "unit": "step"} | plain
    )
    bar = progress.redraw(None, first)
    bar = progress.redraw(bar, second)
    assert (bar.n, bar.total) == (1, 9)
    bar.close()


def test_notebook_keeps_one_line_that_ends_full(monkeypatch):
    """Saved with the notebook: an HTML line, updated in place, with its text for a log."""
    import IPython.display

    shown = []

    class Handle:
        def update(self, line):
            shown.append(line)

    def display(line, *, display_id):
        shown.append(line)
        return Handle()

    monkeypatch.setattr(progress, "in_notebook", lambda: True)
    monkeypatch.setattr(IPython.display, "display", display)
    with progress.Bar(total=2, desc="<b>Decode", unit="answer", mininterval=0) as bar:
        bar.update(2)
    assert 'value="2" max="2"' in shown[-1]._repr_html_()
    assert "&lt;b&gt;Decode" in shown[-1]._repr_html_()
    assert "2/2" in repr(shown[-1])
