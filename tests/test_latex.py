"""LaTeX pages: escaped texts, a table that booktabs sets, and one real compilation."""

import shutil
import subprocess

import pytest

from alpaca_lab.pages import latex
from alpaca_lab.pages.page import Page

HOSTILE = "[x]* #1 $x$ 5% a_b c^d {e} ~ \\input{f} <g> | & \x1b[31m"
PAGE = Page(
    title=f"A title: {HOSTILE}",
    header=("Model", "a heading of several words", "n"),
    rows=((HOSTILE, "-1.00\n[-2.00, +0.10]", "3"), ("*Beta", "-", "4")),
    warnings=("Beware.",),
    reading=("It reads ROUGE-1 on 0-100.", (f"one {HOSTILE}", "two")),
    signatures=(("BLEU", "bleu|tok:13a|eff:no_x"),),
    runs=("0123456789ab",),
)


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("# $ % & _ { }", r"\# \$ \% \& \_ \{ \}"),
        ("~ ^ \\", r"\textasciitilde{} \textasciicircum{} \textbackslash{}"),
        ("< > |", r"\textless{} \textgreater{} \textbar{}"),
        ("[a] *", "{[}a{]} {*}"),
        ("a\nb", "a b"),
        ("-1.20, +0.30 [-2.00, 1.00]", "$-$1.20, +0.30 {[}$-$2.00, 1.00{]}"),
        ("ROUGE-1 on 0-100, LLaMA-2-7B", "ROUGE-1 on 0-100, LLaMA-2-7B"),
    ],
)
def test_text_prints_as_it_is(text, escaped):
    assert latex.escape(text) == escaped


def test_table_is_booktabs_with_caption_label_and_notes():
    lines = latex.page(PAGE, label="main").splitlines()
    assert r"\label{tab:main}" in lines
    assert r"\begin{tabular}{@{}lrr@{}}" in lines
    assert [line for line in lines if line.endswith("rule")] == [
        r"\toprule",
        r"\midrule",
        r"\bottomrule",
    ]
    assert r"{*}Beta & - & 4 \\" in lines
    assert r"\textbf{Beware.}" in lines
    assert r"\item two" in lines
    assert r"Runs: \texttt{0123456789ab}." in lines


def test_cell_of_several_lines_is_level_at_the_top_and_a_long_heading_at_the_bottom():
    text = latex.page(PAGE, label="main")
    assert r"\begin{tabular}[t]{@{}r@{}}$-$1.00 \\ {[}$-$2.00, +0.10{]}\end{tabular}" in text
    assert r"\begin{tabular}[b]{@{}r@{}}a heading of \\ several \\ words\end{tabular}" in text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex, to compile a page")
def test_hostile_page_compiles_and_prints_what_it_was_given(tmp_path):
    document = (
        "\\documentclass{article}\\usepackage{booktabs,graphicx}\\begin{document}\n"
        # Control pictures are letters that pdfLaTeX has no font for; XeLaTeX has.
        f"{latex.page(PAGE, label='main').replace('␛', '')}\\end{{document}}\n"
    )
    (tmp_path / "page.tex").write_text(document, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Output written on page.pdf (1 page" in done.stdout
