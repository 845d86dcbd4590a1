"""Units of ground motion."""

PER_COUNT = {"m": 0.0078125, "cm": 0.78125, "mm": 7.8125}


def scaled(counts, unit):
    """``counts`` in a unit."""
    return counts * PER_COUNT[unit]
