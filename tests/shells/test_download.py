"""Downloads to files, by both sessions: whole or not at all, continued in the same call, a later one, after a kill."""

from __future__ import annotations

import gzip
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import polvo_adapters as polvo
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.shells.downloads import choose_target
from polvo_adapters.stores import partial_files
from polvo_adapters.stores.partial_files import Origin, PartialFile
from tests.support.cutting_server import OLD, CuttingServer, Entity, Seen, serve
from tests.support.twin_sessions import KINDS, Twin

PLAIN = bytes(range(256)) * 400
OTHER = bytes(255 - byte for byte in PLAIN)
CUT = len(PLAIN) // 3


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def session(kind: str) -> Iterator[Twin]:
    with Twin(kind, retry=ExponentialBackoff(base=0, cap=0), timeout=2) as session:
        yield session


def names(directory: Path) -> list[str]:
    return sorted(each.name for each in directory.iterdir())


def ranges(server: CuttingServer) -> list[str | None]:
    return [seen.headers.get("range") for seen in server.seen]


def leave_a_part(session: Twin, server: CuttingServer, path: Path) -> None:
    """Let a download break off for good."""
    server.cuts = [CUT, 0, 0]
    with pytest.raises(session.broken_error):
        session.download(server.url, path)
    server.seen.clear()
    server.cuts = ()


def test_a_download_goes_on_where_it_breaks_off(session: Twin, tmp_path: Path) -> None:
    with serve(Entity(PLAIN), cuts=[CUT, 70, 80]) as server:
        path = session.download(server.url, tmp_path / "x")
        assert (path, path.read_bytes(), names(tmp_path)) == (tmp_path / "x", PLAIN, ["x"])
        assert ranges(server) == [None, *(f"bytes={at}-" for at in (CUT, CUT + 70, CUT + 150))]
        assert server.seen[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_later_call_goes_on(session: Twin, tmp_path: Path, framing: str) -> None:
    with serve(Entity(PLAIN, etag=None, modified=OLD), framing=framing, chunk=1000) as server:
        leave_a_part(session, server, tmp_path / "x")
        assert len(names(tmp_path)) == 2
        assert all(name.startswith(".x.") for name in names(tmp_path))
        assert session.download(server.url, tmp_path / "x").read_bytes() == PLAIN
        assert (ranges(server)[0] or "").startswith("bytes=")
        assert names(tmp_path) == ["x"]


def test_what_was_left_complete_is_checked_by_its_last_byte(session: Twin, tmp_path: Path) -> None:
    with serve(Entity(PLAIN)) as server:
        partial = PartialFile(str(tmp_path / "x"), server.url)
        partial.begin(Origin("etag", '"one"', len(PLAIN)))
        partial.write(PLAIN)
        assert partial.keep()
        assert session.download(server.url, tmp_path / "x").read_bytes() == PLAIN
        assert ranges(server) == [f"bytes={len(PLAIN) - 1}-"]


@pytest.mark.parametrize("rest", ["whole", "mute part", "other range", "long", 416])
def test_a_part_whose_rest_cannot_be_had_is_begun_anew(session: Twin, tmp_path: Path, rest: str | int) -> None:
    with serve(Entity(PLAIN)) as server:
        leave_a_part(session, server, tmp_path / "x")
        server.rest = rest
        assert session.download(server.url, tmp_path / "x").read_bytes() == PLAIN
        assert ranges(server) == [f"bytes={CUT}-", None][: 1 if rest == "whole" else 2]


@pytest.mark.parametrize("status", [403, 404, 503])
def test_an_error_status_leaves_the_part(session: Twin, tmp_path: Path, status: int) -> None:
    with serve(Entity(PLAIN)) as server:
        leave_a_part(session, server, tmp_path / "x")
        server.rest = status
        with pytest.raises(polvo.StatusError):
            session.download(server.url, tmp_path / "x")
        server.rest = "part"
        server.seen.clear()
        assert session.download(server.url, tmp_path / "x").read_bytes() == PLAIN
        assert ranges(server) == [f"bytes={CUT}-"]


@pytest.mark.parametrize("in_call", [True, False])
@pytest.mark.parametrize("on_change", ["restart", "fail"])
def test_a_changed_entity_is_begun_anew_or_fails(session: Twin, tmp_path: Path, on_change: Any, in_call: bool) -> None:
    class Changing(CuttingServer):
        def answer(self, connection: Any, seen: Seen, number: int) -> bool:
            if seen.headers.get("range"):
                self.entity = Entity(OTHER, etag='"two"')
            return super().answer(connection, seen, number)

    server = Changing(Entity(PLAIN))
    try:
        (tmp_path / "x").write_bytes(b"before")
        if in_call:
            server.cuts = [CUT]
        else:
            _leave(server.url, tmp_path / "x")
        if on_change == "fail":
            with pytest.raises(polvo.EntityChangedError, match="changed"):
                session.download(server.url, tmp_path / "x", on_change="fail")
            assert (tmp_path / "x").read_bytes() == b"before"
        server.cuts = server.cuts if on_change == "restart" else ()
        assert session.download(server.url, tmp_path / "x", on_change=on_change).read_bytes() == OTHER
        assert names(tmp_path) == ["x"]
    finally:
        server.close()


def _leave(url: str, path: Path) -> None:
    partial = PartialFile(str(path), url)
    partial.begin(Origin("etag", '"one"', len(PLAIN)))
    partial.write(PLAIN[:CUT])
    assert partial.keep()


def test_an_entity_that_changes_every_time_ends_it(session: Twin, tmp_path: Path) -> None:
    class Restless(CuttingServer):
        def answer(self, connection: Any, seen: Seen, number: int) -> bool:
            self.entity = Entity(PLAIN, etag=f'"{number}"')
            return super().answer(connection, seen, number)

    server = Restless(Entity(PLAIN), cuts=[CUT] * 50)
    try:
        with pytest.raises(polvo.EntityChangedError):
            session.download(server.url, tmp_path / "x")
        assert len(server.seen) == 8
        assert names(tmp_path) == []
    finally:
        server.close()


def test_encoded_bodies_are_decoded_and_not_kept(session: Twin, tmp_path: Path) -> None:
    with serve(Entity(gzip.compress(PLAIN, mtime=0), "gzip"), cuts=[50]) as server:
        assert session.download(server.url, tmp_path / "x").read_bytes() == PLAIN
        server.seen.clear()
        server.cuts = [50, 0, 0]
        with pytest.raises(session.broken_error):
            session.download(server.url, tmp_path / "x")
        assert names(tmp_path) == ["x"]


# Redirects ------------------------------------------------------------------------------------------------------------


class SigningServer(CuttingServer):
    """Redirects to a URL that is good for one request."""

    def answer(self, connection: Any, seen: Seen, number: int) -> bool:
        if "signature" not in seen.path:
            head = f"HTTP/1.1 302 Found\r\nLocation: /{number}?signature={number}\r\nContent-Length: 0\r\n\r\n"
            connection.sendall(head.encode())
            return True
        if sum(each.path == seen.path for each in self.seen) > 1:
            connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            return True
        return super().answer(connection, seen, number)


def test_a_signed_url_that_has_expired_is_asked_for_anew(session: Twin, tmp_path: Path) -> None:
    server = SigningServer(Entity(PLAIN), cuts=[None, CUT, None, None, 100])
    try:
        assert session.download(server.url, tmp_path / "x").read_bytes() == PLAIN
        assert [seen.path.partition("?")[0] for seen in server.seen] == [
            *("/file.bin", "/0", "/0"),  # 403 to the rest
            *("/file.bin", "/3", "/3"),
            *("/file.bin", "/6"),
        ]
        assert ranges(server)[-2:] == [f"bytes={CUT + 100}-"] * 2
    finally:
        server.close()


# Files ----------------------------------------------------------------------------------------------------------------


def test_the_name_in_a_directory_is_that_of_the_url(session: Twin, tmp_path: Path) -> None:
    with serve(Entity(b"x")) as server:
        assert session.download(server.url + "?name=../evil", tmp_path) == tmp_path / "file.bin"


@pytest.mark.parametrize("end", ["", "/", "/..", "/%2e%2e", "/a%2Fb", "/..%5Cb", "/a%00b", "/a%0ab", "/C%3A", "/."])
def test_a_url_without_a_name_needs_one(tmp_path: Path, end: str) -> None:
    with pytest.raises(polvo.ConfigurationError, match="name the file"):
        choose_target(tmp_path, "https://files.example.com" + end)


def test_a_directory_that_does_not_exist_is_an_error_before_anything_is_sent(session: Twin, tmp_path: Path) -> None:
    with serve(Entity(PLAIN)) as server:
        with pytest.raises(FileNotFoundError):
            session.download(server.url, tmp_path / "none" / "x")
        assert server.seen == []


@pytest.mark.skipif(os.name != "posix", reason="modes")
def test_modes_are_those_of_any_new_file_or_of_the_one_before(session: Twin, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with serve(Entity(PLAIN)) as server:
            new = session.download(server.url, tmp_path / "new")
            assert stat.S_IMODE(new.stat().st_mode) == 0o640
            (tmp_path / "old").touch()
            (tmp_path / "old").chmod(0o606)
            assert stat.S_IMODE(session.download(server.url, tmp_path / "old").stat().st_mode) == 0o606
    finally:
        os.umask(before)


@pytest.mark.skipif(os.name != "posix", reason="links and pipes")
def test_links_are_followed_and_other_things_are_not_replaced(session: Twin, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real" / "x")
    os.mkfifo(tmp_path / "pipe")
    with serve(Entity(PLAIN)) as server:
        assert session.download(server.url, tmp_path / "link") == tmp_path / "real" / "x"
        assert (tmp_path / "link").is_symlink()
        for path in (tmp_path / "pipe", Path("/dev/null")):
            with pytest.raises(FileExistsError):
                session.download(server.url, path)


def test_a_target_with_a_long_name(session: Twin, tmp_path: Path) -> None:
    with serve(Entity(PLAIN)) as server:
        path = tmp_path / ("ä" * 120)
        leave_a_part(session, server, path)
        assert session.download(server.url, path).read_bytes() == PLAIN


@pytest.mark.skipif(os.name != "posix", reason="partial files are not shared there")
@pytest.mark.parametrize("plant", ["link", "hard link", "writable", "directory", "pipe"])
def test_what_others_have_put_there_is_not_used(session: Twin, tmp_path: Path, plant: str) -> None:
    with serve(Entity(PLAIN)) as server:
        partial = Path(partial_files._name_partial(str(tmp_path / "x"), server.url))
        victim = tmp_path / "victim"
        victim.write_bytes(b"untouched")
        if plant == "link":
            partial.symlink_to(victim)
        elif plant == "hard link":
            partial.hardlink_to(victim)
        elif plant == "directory":
            partial.mkdir()
        elif plant == "pipe":
            os.mkfifo(partial)
        else:
            partial.write_bytes(OTHER[:CUT])
            partial.chmod(0o666)
            Path(f"{partial}.json").write_text(
                f'{{"name": "etag", "validator": "\\"one\\"", "total": {len(PLAIN)}, "boot": "", "certain": {CUT}}}'
            )
        assert session.download(server.url, tmp_path / "x").read_bytes() == PLAIN
        assert victim.read_bytes() == b"untouched"


@pytest.mark.parametrize("note", ["", "{", "[]", '{"name": "etag"}', '{"name": 1, "validator": 2, "total": "x"}'])
def test_a_part_without_a_note_that_can_be_read_is_begun_anew(session: Twin, tmp_path: Path, note: str) -> None:
    with serve(Entity(PLAIN)) as server:
        leave_a_part(session, server, tmp_path / "x")
        next(tmp_path.glob(".*.json")).write_text(note)
        assert session.download(server.url, tmp_path / "x").read_bytes() == PLAIN
        assert ranges(server) == [None]


def test_after_the_machine_has_stopped_only_what_was_written_out_counts(
    session: Twin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(Entity(PLAIN)) as server:
        partial = PartialFile(str(tmp_path / "x"), server.url)
        partial.begin(Origin("etag", '"one"', len(PLAIN)))
        partial.write(PLAIN[:CUT])
        partial.close()  # as a kill does
        monkeypatch.setattr(partial_files, "read_boot", lambda: "another")
        assert session.download(server.url, tmp_path / "x").read_bytes() == PLAIN
        assert ranges(server) == [None]


@pytest.mark.skipif(os.name != "posix", reason="partial files are not shared there")
def test_two_at_a_time_write_to_files_of_their_own(session: Twin, tmp_path: Path) -> None:
    retry = ExponentialBackoff(base=0, cap=0)
    with serve(Entity(PLAIN), cuts=[CUT, None], deed="hang") as server, Twin(session.kind, retry=retry) as other:
        first = threading.Thread(target=lambda: other.download(server.url, tmp_path / "x", timeout=0.7))
        first.start()
        while not server.seen:
            time.sleep(0.01)
        assert session.download(server.url, tmp_path / "x").read_bytes() == PLAIN
        (tmp_path / "x").unlink()
        first.join(20)
        assert (tmp_path / "x").read_bytes() == PLAIN
        assert names(tmp_path) == ["x"]


RUNS = {
    "requests": "polvo.Session().download(sys.argv[1], sys.argv[2])",
    "httpx": "asyncio.run(polvo.AsyncSession().download(sys.argv[1], sys.argv[2]))",
}


def run(code: str, *arguments: str, **keywords: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", code, *arguments], **keywords)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kill")
def test_a_killed_download_is_continued(session: Twin, tmp_path: Path) -> None:
    code = f"import asyncio, sys, polvo_adapters as polvo; {RUNS[session.kind]}"
    with serve(Entity(PLAIN), cuts=[70_000], deed="hang") as server:
        process = run(code, server.url, str(tmp_path / "x"))
        try:
            for _ in range(1000):
                if any(each.stat().st_size for each in tmp_path.glob(".x.*.part")):
                    break
                time.sleep(0.01)
        finally:
            process.kill()
            process.wait()
        kept = next(tmp_path.glob(".x.*.part")).stat().st_size
        server.seen.clear()
        server.cuts = ()
        assert session.download(server.url, tmp_path / "x").read_bytes() == PLAIN
        assert ranges(server) == [f"bytes={kept}-"]
        assert names(tmp_path) == ["x"]


def test_a_full_disk_leaves_what_was_there(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("resource")
    code = f"""
import asyncio, resource, signal, sys
import polvo_adapters as polvo
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    {RUNS[kind]}
except OSError as error:
    print(type(error).__name__, error.errno)
"""
    (tmp_path / "x").write_bytes(b"before")
    with serve(Entity(PLAIN)) as server:
        process = run(code, server.url, str(tmp_path / "x"), stdout=subprocess.PIPE)
        assert process.communicate(timeout=20)[0] == b"OSError 27\n"
    assert (tmp_path / "x").read_bytes() == b"before"
    assert names(tmp_path) == ["x"]


def test_what_the_progress_raises_ends_it_and_the_part_is_kept(session: Twin, tmp_path: Path) -> None:
    def stop(size: int, total: int | None) -> None:
        if size:
            raise KeyboardInterrupt

    with serve(Entity(PLAIN)) as server:
        with pytest.raises(KeyboardInterrupt):
            session.download(server.url, tmp_path / "x", progress=stop)
        seen: list[tuple[int, int | None]] = []
        session.download(server.url, tmp_path / "x", progress=lambda size, total: seen.append((size, total)))
        assert (tmp_path / "x").read_bytes() == PLAIN
        assert 0 < seen[0][0] < len(PLAIN)
        assert seen[-1] == (len(PLAIN), len(PLAIN))


@pytest.mark.parametrize("length", ["5", "9" * 5000, "-1", "5, 6", "\u0665"])
def test_a_length_that_does_not_count_is_not_believed(session: Twin, tmp_path: Path, length: str) -> None:
    class Overridden(Entity):
        def head(self) -> list[str]:
            return [f"Content-Length: {length}"]

    with serve(Overridden(PLAIN), framing="chunked", chunk=1000) as server:
        seen: list[tuple[int, int | None]] = []
        if session.is_async and length != "5":  # httpx takes no such response, whoever asks for it
            with pytest.raises(session.library_error):
                session.get(server.url, retry=False)
            return
        path = session.download(server.url, tmp_path / "x", progress=lambda size, total: seen.append((size, total)))
        assert path.read_bytes() == PLAIN
        assert {total for _, total in seen} == {None}
        assert seen[-1][0] == len(PLAIN)


@pytest.mark.parametrize("status", [404, 500])
def test_an_error_page_is_no_file(session: Twin, tmp_path: Path, status: int) -> None:
    class Failing(CuttingServer):
        def answer(self, connection: Any, seen: Seen, number: int) -> bool:
            return self._send(connection, f"{status} No", [], b"page", None)

    server = Failing(Entity(b""))
    try:
        with pytest.raises(polvo.StatusError) as caught:
            session.download(server.url, tmp_path / "x")
        assert caught.value.status_code == status
        assert names(tmp_path) == []
    finally:
        server.close()


def test_the_deadline_is_that_of_the_whole(kind: str, tmp_path: Path) -> None:
    with (
        Twin(kind, retry=ExponentialBackoff(base=0, cap=0), timeout=0.15, deadline=0.4) as session,
        serve(Entity(PLAIN), cuts=[10] * 500, deed="hang") as server,
    ):
        began = time.monotonic()
        with pytest.raises(polvo.DeadlineExceeded):
            session.download(server.url, tmp_path / "x")
        assert time.monotonic() - began < 15


def test_a_url_may_be_relative(kind: str, tmp_path: Path) -> None:
    with serve(Entity(PLAIN)) as server, Twin(kind, server.url.rpartition("/")[0]) as session:
        assert session.download("file.bin", tmp_path).read_bytes() == PLAIN


def test_on_change_is_one_of_two(session: Twin, tmp_path: Path) -> None:
    with pytest.raises(polvo.ConfigurationError, match="on_change"):
        session.download("http://127.0.0.1:9/x", tmp_path, on_change="ignore")  # type: ignore[arg-type]
