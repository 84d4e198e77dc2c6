"""The study that this one grew from: its figures, its protocol, and both taken apart.

Its protocol is not valid; it is kept so that its tables can be understood.
"""
