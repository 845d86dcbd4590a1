"""``dispel4py.new.logger``: where scripts write messages of their own."""

from __future__ import annotations

import logging
import traceback

from d4pcwl.workflow.pe import log_line

__all__ = ["logger", "print_stack_trace", "simpleLogger"]

simpleLogger = log_line  # noqa: N816 - upstream's name


def _logger() -> logging.Logger:
    """A logger that says what is INFO or worse, on standard error."""
    found = logging.getLogger("dispel4py.new.logger")
    if not found.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        found.addHandler(handler)
        found.setLevel(logging.INFO)
        found.propagate = False
    return found


logger = _logger()


def print_stack_trace() -> None:
    """Log the traceback of the exception that is being handled."""
    logger.error("%s", traceback.format_exc().rstrip())
