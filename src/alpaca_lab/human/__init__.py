"""The human score: who rates what, blind, and the file that alone fills the Human column.

    rubric     what a rater is asked, in words
    draw       which answers are rated, by whom, in which order: a plan from a seed
    plan       the plan on disk, and the key that says whose answer an item is
    items      what of an item a rater sees
    ratings    the log of ratings: one row each, appended, checked, merged
    session    one rater's way through a plan
    widget     the same as a page in a notebook
    sheet      the same as a sheet for a spreadsheet
    values     ratings with the key turned
    power, progress, page   what a plan can see, how far raters are, both in a notebook
    command    `python -m alpaca_lab rate`

No rating is ever made by a program. A rater never sees which model or setting gave an answer.
"""
