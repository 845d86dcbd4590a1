"""Reading the texts of CWL documents and job orders: each is checked before it is parsed.

cwltool's library reads everything through a fetcher: the document, the documents of its steps,
imports, includes, schemas. Our fetcher refuses texts that could cost too much
(:mod:`d4pcwl.workflow.texts`). It follows imports before the library does, and so finds documents
that import themselves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from d4pcwl.cwl.files import uri_path
from d4pcwl.cwl.importing.cwltool.loading import REFERENCE
from d4pcwl.errors import Fault, UnreadableText
from d4pcwl.workflow.texts import Extent, check_yaml, not_yaml, read_text

if TYPE_CHECKING:
    from cwltool.context import LoadingContext
    from schema_salad.fetcher import Fetcher

_RAW: Any = ("",)
"""Distinguishes a text that is included unchanged from one that is parsed."""


def checked_fetcher() -> Callable[[Any, Any], Fetcher]:
    """Makes the fetchers of one document or job order. They know which texts were read already."""
    from schema_salad.exceptions import ValidationException
    from schema_salad.fetcher import DefaultFetcher

    texts: dict[str, str] = {}
    extents: dict[str, Extent] = {}
    open_: list[str] = []

    class CheckedFetcher(DefaultFetcher):
        """Reads texts that can be parsed."""

        def fetch_text(self, url: str, content_types: Any = _RAW) -> str:
            if url in self.cache:
                return super().fetch_text(url)
            text = self._text(url, content_types)
            if content_types is not _RAW:
                self._measure(url, text)
            return text

        def _text(self, url: str, content_types: Any) -> str:
            found = texts.get(url)
            if found is None:
                if urlsplit(url).scheme == "file":
                    found = read_text(uri_path(url))
                else:
                    found = super().fetch_text(
                        url, None if content_types is _RAW else content_types
                    )
                texts[url] = found
            return found

        def _measure(self, url: str, text: str) -> Extent:
            extent = extents.get(url)
            if extent is None:
                open_.append(url)
                try:
                    extent = check_yaml(
                        text, uri_path(url), imported=lambda *given: self._imported(url, *given)
                    )
                finally:
                    open_.pop()
                extents[url] = extent
            return extent

        def _imported(self, importer: str, reference: str, line: int) -> Extent:
            url = urldefrag(urljoin(importer, reference))[0]
            if urlsplit(url).scheme not in ("file", "http", "https"):
                return Extent(0, 0)  # the library says what is wrong with it
            if url in open_:
                message = f"imports {uri_path(url)}, which imports it in turn"
                if url == importer:
                    message = "imports itself"
                raise UnreadableText(str(Fault(message, uri_path(importer), line)))
            if url in extents:
                return extents[url]._replace(own=0)
            try:
                text = self._text(url, None)
            except (UnreadableText, ValidationException):
                return Extent(0, 0)  # as above, if it gets there
            return self._measure(url, text)

    return CheckedFetcher


_GENERATED = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|_[0-9a-f]{40}\b")
_ENCODED = re.compile(r"(?<!\S)\S*%\S*(?=:\d+:\d+: )")
_TO_PROCESS = re.compile(rf"\{{'{REFERENCE}': '([^']*)'\}}")
_PLACE = re.compile(r"^\S+:\d+:\d+: ", re.MULTILINE)
_SCRIPT = re.compile(
    r"^[^\n]*\n[^\n]*\bscript was:\n.*?\bstdout was: '(?P<value>.*?)'\n"
    r"[^\n]*\bstderr was: '(?P<said>(?:.*?\n[^\n]* at [^\n]*)?)'(?=\n|\Z)",
    re.DOTALL | re.MULTILINE,
)
"""What cwltool's library says if an expression fails: the whole script, its value, and what Node.js
says: where it failed, the line with a caret, the error, and the calls that led to it."""


def readable(error: object) -> str:
    """The text of an error of cwltool's library, without the ids that it makes for types, with the
    names of files as people write them, and of a script that fails only the line and the error."""
    text = _SCRIPT.sub(_of_script, _GENERATED.sub("", str(error)))
    text = _TO_PROCESS.sub(lambda found: uri_path(found[1]), text)
    return _ENCODED.sub(lambda place: unquote(place[0]), text)


def _of_script(found: re.Match[str]) -> str:
    _, *lines = _PLACE.sub("", found["said"]).split("\n")
    said = [line for line in lines if line and not line.startswith("    at ")]
    if not said and found["value"] == "undefined":
        return "the expression returns no value"
    return "\n".join(said) or found[0]


@contextmanager
def told(location: str) -> Iterator[None]:
    """Report errors of cwltool's library about texts as errors of these texts.

    :raises UnreadableText: the block raises such an error
    """
    from ruamel.yaml.error import YAMLError
    from schema_salad.exceptions import SchemaSaladException

    try:
        yield
    except YAMLError as error:
        raise not_yaml(error, location) from error
    except SchemaSaladException as error:
        cause = error.__cause__ or error.__context__  # the compiled library sets the second one
        if isinstance(cause, YAMLError):
            mark = getattr(cause, "problem_mark", None)
            raise not_yaml(cause, uri_path(getattr(mark, "name", "") or location)) from error
        raise
    except StopIteration:
        raise UnreadableText(f"{location}: is empty") from None
    except RecursionError:
        raise UnreadableText(f"{location}: is nested too deep") from None
    except (AttributeError, KeyError, TypeError, IndexError, AssertionError) as error:
        text = str(error).split("\n", 1)[0][:200]
        raise UnreadableText(
            f"{location}: not valid CWL: cwltool's loader fails on it"
            f" ({type(error).__name__}: {text})"
        ) from error


def refuse_endless(context: LoadingContext) -> None:
    """Refuse processes that run themselves, instead of making them for ever.

    :param context: for loading a document
    :raises UnreadableText: later, from the loading
    """
    make: Any = context.construct_tool_object
    open_: list[str] = []

    def make_once(process: Any, context: LoadingContext) -> Any:
        identifier = str(process.get("id", ""))
        if identifier and identifier in open_:
            ring = [
                uri_path(i) + _fragment(i)
                for i in (*open_[open_.index(identifier) :], identifier)
                if i  # a reference has none of its own
            ]
            raise UnreadableText(f"{ring[0]}: runs itself: {' -> '.join(ring)}")
        open_.append(identifier)
        try:
            return make(process, context)
        finally:
            open_.pop()

    made: Any = make_once
    context.construct_tool_object = made


def _fragment(url: str) -> str:
    name = urldefrag(url)[1]
    return f"#{name}" if name else ""


def refuse_other(given: Any, location: str) -> None:
    """Refuse a text that is not a document.

    :raises UnreadableText: it is not an object
    """
    if not isinstance(given, dict):
        found = "list" if isinstance(given, list) else "single value"
        raise UnreadableText(
            f"{location}: expected an object with class and cwlVersion, found a {found}"
        )
