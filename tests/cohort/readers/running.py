"""The whole step on one reader's cohort, as the command line starts it."""

import re

import pytest

from scsw.cohort.preprocess import preprocess
from scsw.cohort.request import Request
from scsw.errors import ScswError
from scsw.settings import section_settings
from tests.cohort import layouts


def run(path, out, *, source="auto", training=False, settings=None, **asked):
    """Preprocess a cohort; `asked` is what the user says of it."""
    preprocess(
        path,
        out,
        cohort="made",
        source=source,
        settings=section_settings("preprocess", layouts.SETTINGS | (settings or {})),
        request=Request(path, **asked),
        training=training,
    )


def refused(message, path, out, **asked):
    """Check that preprocessing ends in one message and leaves nothing behind."""
    with pytest.raises(ScswError) as caught:
        run(path, out, **asked)
    assert re.search(message, str(caught.value), flags=re.DOTALL), str(caught.value)
    assert not out.exists() or not list(out.iterdir())
