"""How numbers become pages: wording and verdicts, one `Page` value, and its Markdown, LaTeX, HTML.

Nothing is computed from answers here, and nothing needs torch.
"""
