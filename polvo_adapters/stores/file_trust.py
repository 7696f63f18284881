"""Which files this library opens: those that no other user of the machine can have put there, can change, or can read.

Theory of operation. A file of this library holds tokens, keys of encryption, or the records that keep a request from
being sent twice. Another user of the machine must not be able to choose it (by a link, or a file of the user's own that
was there first), to change it, to read it, or to replace it. So three things are checked before it is used:

    checked                                         refused
    ----------------------------------------------  ------------------------------------------------------------
    the file, and what SQLite puts beside it        a symbolic link, what is no regular file, a second name (hard
                                                    link), another owner, a mode with rights for others
    its directory                                   another owner, rights to write for others without the sticky bit
    links on the way to the directory               one of another owner

An owner is this user, or root, who can do all of it anyway. A directory that a group may write to is refused where this
process is not in the group; members of its own groups are trusted to replace files, but not to own them.

Where these hold, no other user can put anything in the place of a name that this user has: so a file that is opened by
its path, as SQLite opens it, is the one that was checked. What is read here is checked again once it is open.

Windows has neither owners nor modes that Python knows of: links and second names are refused there, and no more.
"""

from __future__ import annotations

import os
import stat

_MOST_LINKS = 40  # on the way to a directory, as Linux has it
_OPT_OUT = "or pass check_files=False to the store if no other user can reach it"


class Unfit(Exception):
    """What is at the path can never be used; the message says the reason and what to do."""


def check_file(path: str, found: os.stat_result, checked: bool = True, *, private: bool = True) -> None:
    """Raise unless a file is one that no other user can have put there, or can use.

    Args:
        path: The file, for the message.
        found: What the system says of it, by `lstat` or of the open file.
        checked: Whether its owner and its mode are checked, and not only what it is.
        private: Whether others must not read it either.

    Raises:
        Unfit: Another user can; the message says what to do.
    """
    if stat.S_ISLNK(found.st_mode):
        raise Unfit(f"{path} is a symbolic link, and none is followed; name the file itself, or remove the link")
    if not stat.S_ISREG(found.st_mode):
        raise Unfit(f"{path} is not a regular file; name a file")
    if not checked:
        return
    if found.st_nlink > 1:
        raise Unfit(
            f"{path} is known under another name too (a hard link), by which it can be read or changed; remove the "
            "other name, or copy the file and put the copy in its place"
        )
    if os.name != "posix":
        return
    if not _is_trusted(found.st_uid):
        user = os.geteuid()
        raise Unfit(
            f"{path} belongs to the user {found.st_uid}, and this process runs as the user {user}; if it is yours, run "
            f"chown {user} {path}; if you do not know it, remove it; {_OPT_OUT}"
        )
    mode = stat.S_IMODE(found.st_mode)
    if (mode & 0o077) if private else _can_others_write(found):
        can = "read and change" if mode & 0o022 else "read"
        raise Unfit(
            f"other users can {can} {path} (mode {mode:04o}); if its content is what you expect, run chmod 600 {path}; "
            f"{_OPT_OUT}"
        )


def check_path(path: str, checked: bool = True, *, private: bool = True) -> None:
    """Raise unless what is at a path is fit, or nothing; see `check_file`."""
    try:
        found = os.lstat(path)
    except OSError:
        return
    check_file(path, found, checked, private=private)


def check_directory(path: str) -> None:
    """Raise unless the directory of a file is one in which no other user can replace it.

    Args:
        path: The file.

    Raises:
        Unfit: Another user can; the message says what to do.
    """
    if os.name != "posix":
        return
    directory = os.path.dirname(os.path.abspath(path))
    link = _find_foreign_link(directory, _MOST_LINKS)
    if link:
        raise Unfit(f"{link}, on the way to {path}, is a symbolic link of another user; name a path without it")
    try:
        found = os.stat(directory)
    except OSError:
        return  # which the caller will find out
    private = "make a directory for this user alone (mkdir -m 700), and name a file in it"
    if not _is_trusted(found.st_uid):
        raise Unfit(
            f"its directory {directory} belongs to the user {found.st_uid}, who can replace it; {private}, {_OPT_OUT}"
        )
    if not found.st_mode & stat.S_ISVTX and _can_others_write(found):
        mode = stat.S_IMODE(found.st_mode)
        raise Unfit(
            f"other users can write to its directory {directory} (mode {mode:04o}), and replace it; run chmod go-w "
            f"{directory}, or {private}, {_OPT_OUT}"
        )


def _is_trusted(user: int) -> bool:
    return user in (0, os.geteuid())


def _can_others_write(found: os.stat_result) -> bool:
    if found.st_mode & stat.S_IWOTH:
        return True
    return bool(found.st_mode & stat.S_IWGRP) and found.st_gid not in (os.getegid(), *os.getgroups())


def _find_foreign_link(directory: str, most: int) -> str:
    """Return the first link of another user on the way to a directory, or an empty string."""
    way = os.sep
    for part in directory.split(os.sep):
        way = os.path.join(way, part)
        try:
            found = os.lstat(way)
            if not stat.S_ISLNK(found.st_mode):
                continue
            if not _is_trusted(found.st_uid) or most == 0:
                return way
            target = os.path.abspath(os.path.join(os.path.dirname(way), os.readlink(way)))
        except OSError:
            return ""  # which the caller will find out
        beyond = _find_foreign_link(target, most - 1)
        if beyond:
            return beyond
        way = os.path.realpath(way)
    return ""
