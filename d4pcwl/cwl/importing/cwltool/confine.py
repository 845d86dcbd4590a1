"""Limits for a tool's files: their names must be valid, and they must be inside of its folders.

Names come from job orders, documents and outputs of tools, and links come from tools. So none of
them is trusted. cwltool uses a path mapper for the place of each file that is staged or moved to
its final place; :class:`ConfinedMapper` refuses places outside of the folder. cwltool reads the
outputs of a tool through a file system access; :class:`WorkingFolder` refuses files outside.
"""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from typing import Any

from cwltool.errors import UnsupportedRequirement, WorkflowException
from cwltool.pathmapper import PathMapper
from cwltool.stdfsaccess import StdFsAccess, abspath
from cwltool.utils import visit_directories, visit_files_directories
from schema_salad.ref_resolver import file_uri

_MOST_LINKS = 40
"""The largest number of links in a row, as on Linux."""


class Outside(WorkflowException):
    """A name or a link that points outside of its folder."""


def is_inside(path: str, folder: str) -> bool:
    """Whether a path, without resolving links, is a folder or is inside it; both are absolute."""
    return os.path.commonpath([os.path.normpath(path), folder]) == os.path.normpath(folder)


def check_name(name: object) -> None:
    """Refuse the name of a file that points outside of the folder for the file.

    :raises Outside: it does
    """
    inside = isinstance(name, str) and is_inside(os.path.join("/x", name), "/x")
    if not inside or "\0" in str(name):
        raise Outside(f"the basename {name!r} points outside of its folder; use a name without ..")


def check_names(value: Any) -> None:
    """Check the names of all files and folders in a value.

    :raises Outside: one of them points outside of its folder
    """

    def check(item: Any) -> None:
        if "basename" in item:
            check_name(item["basename"])

    visit_files_directories(value, check)


class ConfinedMapper(PathMapper):
    """A path mapper whose targets are all in its folder. Looking up a file by its target is fast,
    also with thousands of files.
    """

    anywhere = False
    """Whether entries may have a place outside of the folder, as in a container."""

    _by_target: dict[str, tuple[str, str]] | None = None

    def visit(
        self, obj: Any, stagedir: str, basedir: str, copy: bool = False, staged: bool = False
    ) -> None:
        """See cwltool.

        :raises Outside: its target is somewhere else
        """
        check_name(obj["basename"])
        folder = obj.get("dirname")
        at_home = folder is None or is_inside(folder, self.stagedir)
        if not (at_home or self.anywhere):
            name = os.path.join(folder, obj["basename"])
            raise Outside(f"'{name}' is outside of the folder {self.stagedir}")
        self._by_target = None
        super().visit(obj, stagedir, basedir, copy=copy, staged=staged)

    def update(self, key: str, *entry: Any, **named: Any) -> Any:
        """See cwltool."""
        self._by_target = None
        return super().update(key, *entry, **named)

    def reversemap(self, target: str) -> tuple[str, str] | None:
        """See cwltool."""
        if self._by_target is None:
            self._by_target = {}
            for key, entry in self.items():
                self._by_target.setdefault(entry.target, (key, entry.resolved))
        return self._by_target.get(target)


class MapperInContainer(ConfinedMapper):
    """For a tool in a container: staged files may be anywhere in it."""

    anywhere = True


def check_staging(job: Any, context: Any) -> None:
    """Refuse a tool before it runs if staging its files would change its inputs. Without a
    container, inputs are links. So a file that is put into one of them, or standard output with the
    name of one, would change the user's own files.

    :param job: the tool's job, not yet run
    :raises Outside: that is so
    """
    if not hasattr(job, "generatefiles"):
        return  # nothing is staged
    if not isinstance(job.pathmapper, ConfinedMapper):
        raise UnsupportedRequirement("this version of cwltool stages files unchecked; upgrade it")
    if context.path_mapper.anywhere:
        return
    listing, folder = job.generatefiles["listing"], job.builder.outdir
    entries = [
        entry
        for _, entry in job.make_path_mapper(listing, folder, context, False).items()
        if entry.staged
    ]
    links = {
        entry.target: entry.type
        for entry in entries
        if entry.type in ("File", "Directory") and not entry.resolved.startswith("_:")
    }
    for entry in entries:
        _check_target(entry.target, links, folder)
    for stream, name in (("standard output", job.stdout), ("standard error", job.stderr)):
        path = os.path.normpath(os.path.join(folder, name or ""))
        if path in links:
            raise Outside(
                f"{stream} goes to '{name}', which is an input: it would be overwritten; give it "
                "another name"
            )
        _check_target(path, links, folder)


def _check_target(path: str, links: Mapping[str, str], folder: str) -> None:
    above = os.path.dirname(path)
    while is_inside(above, folder):
        if above in links:
            name, within = (os.path.relpath(p, folder) for p in (path, above))
            raise Outside(
                f"'{name}' would be written into '{within}', which is an input; stage that with "
                "writable: true"
            )
        above = os.path.dirname(above)


def confine(job: Any) -> None:
    """Let a tool's outputs be looked for only in its working folder and its inputs.

    :param job: the tool's job, not yet run
    """
    if not hasattr(job, "collect_outputs"):
        return
    collect = job.collect_outputs

    def collect_inside(folder: str, code: int) -> Any:
        place = WorkingFolder(folder, job)
        job.builder.make_fs_access = lambda basedir: place
        outputs = collect(folder, code)
        visit_directories(outputs, lambda item: place.check_folder(item["location"]))
        return outputs

    job.collect_outputs = collect_inside


class WorkingFolder(StdFsAccess):
    """The folder in which a tool has run, for finding its outputs. A link may point to a file in
    the folder, or to the tool's inputs. The staged inputs are removed when the tool has ended. So
    links to them are replaced by links to the inputs themselves.

    :param folder: its path
    :param job: the tool's job
    """

    def __init__(self, folder: str, job: Any) -> None:
        super().__init__(folder)
        self.folder = os.path.realpath(folder)
        self.inside = os.path.normpath(job.builder.outdir)
        self.staged = os.path.normpath(job.stagedir)
        self.inputs: dict[str, str] = {}
        for mapper in filter(None, (job.pathmapper, job.generatemapper)):
            for _, entry in mapper.items():
                # A file that was made for staging is at its staged place, except in a container.
                made = (entry.type or "").startswith("Create") or entry.resolved.startswith("_:")
                source = entry.target if made else entry.resolved
                self.inputs[source] = self.inputs[entry.target] = source
        self._fine: set[str] = set()
        self._checked: set[str] = set()

    def _abs(self, p: str) -> str:
        path: str = super()._abs(p)
        self.check(path)
        return path

    def glob(self, pattern: str) -> list[str]:
        """See cwltool.

        :raises Outside: it points outside of the folder, or finds a link that does
        """
        path = abspath(pattern, self.basedir)
        if not is_inside(path, self.basedir):
            name = os.path.relpath(path, self.basedir)
            raise Outside(f"the glob '{name}' points outside of the working folder")
        return [file_uri(self._abs(found)) for found in glob.glob(path)]

    def listdir(self, fn: str) -> list[str]:
        """See cwltool.

        :raises Outside: something in the folder points outside of it
        """
        self.check_folder(fn)
        return super().listdir(fn)

    def check(self, path: str) -> None:
        """Refuse a path that is not an output or an input of the tool.

        :raises Outside: that is so
        """
        path = os.path.join(self.basedir, path)
        if path in self._fine:
            return
        place = self._settle(path)
        if is_inside(place, self.folder):
            self._check_kind(place, path)
        self._fine.add(path)

    def check_folder(self, location: str) -> None:
        """Check everything in a folder; each folder only once, for any number of links to it.

        :raises Outside: something in it points outside of the working folder, or to a folder around
            it
        """
        folder = self._settle(self._abs(location))
        if folder in self._checked or not is_inside(folder, self.folder):
            return
        way = [(folder, self._entries(folder))]
        open_folders = {folder}
        while way:
            above, entries = way[-1]
            path, place = next(entries, ("", ""))
            if not path:
                way.pop()
                open_folders.discard(above)
                self._checked.add(above)
            elif place in open_folders:
                raise Outside(f"'{self._name(path)}' is a link to a folder that contains the link")
            elif place not in self._checked and os.path.isdir(place):
                way.append((place, self._entries(place)))
                open_folders.add(place)

    def _entries(self, folder: str) -> Iterator[tuple[str, str]]:
        """The paths of a folder's entries, and their targets, except for inputs."""
        with os.scandir(folder) as found:
            paths = sorted(entry.path for entry in found)
        for path in paths:
            place = self._settle(path)
            if is_inside(place, self.folder):
                self._check_kind(place, path)
                yield path, place

    def _check_kind(self, place: str, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            mode = os.lstat(place).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                kind = "named pipe" if stat.S_ISFIFO(mode) else "socket or a device"
                raise Outside(f"'{self._name(path)}' is a {kind}, which cannot be an output")

    def _settle(self, path: str) -> str:
        """The target of a path. A link is changed to point directly to its target."""
        place = self._locate(path, path, 0)
        if os.path.islink(path):
            if is_inside(place, self.staged):
                _replace_by_copy(path, place)
                return path
            target = place
            if is_inside(place, self.folder):
                target = os.path.relpath(place, os.path.realpath(os.path.dirname(path)))
            if os.readlink(path) != target:
                _replace_by_link(path, target)
        return place

    def _locate(self, path: str, asked: str, links: int) -> str:
        """The place on this machine of a path, as the tool saw the path.

        :param path: absolute, of this machine or of the tool's container
        :param asked: what was asked for, for messages
        """
        path, below = self._anchored(path, asked)
        if below is None:
            return path  # an input: what is in it is the user's own
        place = self.folder
        parts = below.split("/")
        for number, part in enumerate(parts):
            if part in ("", "."):
                continue
            if part == "..":
                if place == self.folder:
                    outer = os.path.join(os.path.dirname(self.inside), *parts[number + 1 :])
                    return self._locate(os.path.normpath(outer), asked, links)
                place = os.path.dirname(place)
                continue
            place = os.path.join(place, part)
            if os.path.islink(place):
                if links >= _MOST_LINKS:
                    raise Outside(f"'{self._name(asked)}' is a link that points to itself")
                within = os.path.join(self.inside, os.path.relpath(place, self.folder))
                target = os.path.join(os.path.dirname(within), os.readlink(place))
                rest = os.path.join(target, *parts[number + 1 :])
                return self._locate(rest, asked, links + 1)
        return place

    def _anchored(self, path: str, asked: str) -> tuple[str, str | None]:
        """An input's place; or the folder, and what comes below it.

        :raises Outside: it is neither
        """
        for root in (self.basedir, self.folder, self.inside):
            if path == root or path.startswith(f"{root}/"):
                return self.folder, path[len(root) + 1 :]
        plain = os.path.normpath(path)
        above = plain
        while True:
            if above in self.inputs:
                return self.inputs[above] + plain[len(above) :], None
            if above == os.path.dirname(above):
                break
            above = os.path.dirname(above)
        if os.path.islink(asked):
            raise Outside(
                f"'{self._name(asked)}' is a link to {os.readlink(asked)}, which is neither in the "
                "working folder nor an input; copy it there"
            )
        raise Outside(f"'{asked}' is neither in the working folder nor an input")

    def _name(self, path: str) -> str:
        for root in (self.basedir, self.folder):
            if is_inside(path, root):
                return os.path.relpath(path, root)
        return path


def stand_alone(folder: str) -> None:
    """Make a folder complete: links that point outside of it become copies.

    :param folder: its path; it is a tool's, and may be changed
    """
    root = os.path.realpath(folder)
    for above, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = os.path.join(above, name)
            if not os.path.islink(path):
                continue
            place = os.path.realpath(path)
            if is_inside(place, root):
                _replace_by_link(path, os.path.relpath(place, above))
            else:
                _replace_by_copy(path, place)


def _replace_by_link(path: str, target: str) -> None:
    beside = f"{path}.d4pcwl"
    os.symlink(target, beside)
    os.replace(beside, path)


def _replace_by_copy(path: str, source: str) -> None:
    """Replace a link by a copy of its file or folder."""
    beside = f"{path}.d4pcwl"
    if os.path.isdir(source):
        shutil.copytree(source, beside)
        os.unlink(path)
    else:
        shutil.copy2(source, beside)
    os.replace(beside, path)
