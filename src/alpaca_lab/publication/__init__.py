"""A record without its texts, for where a licence forbids to publish them: keys stand in for them.

Which file becomes what is one explicit list, `forms`; a file that is not in it is refused.
"""
