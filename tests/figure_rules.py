"""What a figure must say of itself: its title, and what each axis is and in which unit."""


def missing(figure):
    """What a figure does not say, in words; nothing where it says all, or shows nothing."""
    if not figure.axes:
        return []
    found = [] if figure.get_suptitle() else ["the figure has no title"]
    for place, plot in enumerate(figure.axes):
        if not any(below.get_xlabel() for below in figure.axes if _covers(below, plot)):
            found.append(f"panel {place}: nothing says what runs from left to right")
        beside = [plot, *plot.get_shared_y_axes().get_siblings(plot)]
        if not any(other.get_ylabel() for other in beside) and not _named(plot):
            found.append(f"panel {place}: nothing says what runs upwards")
    return found


def _covers(below, plot):
    """Whether a label under `below` is read for `plot`: the same panel, or one under it."""
    (left, bottom), (low_left, low) = plot.get_position().p0, below.get_position().p0
    return abs(left - low_left) < 0.01 and low <= bottom


def _named(plot):
    """Whether words stand at the ticks, no ticks at all, or the quantity and scale as a title."""
    ticks = [tick.get_text() for tick in plot.get_yticklabels()]
    words = [text for text in ticks if any(letter.isalpha() for letter in text)]
    return not ticks or len(words) == len(ticks) or "(0-" in plot.get_title()
