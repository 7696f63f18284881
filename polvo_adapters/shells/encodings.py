"""Whether a body that has ended is the whole of what was encoded.

Theory of operation. A server that dies behind a proxy leaves half a gzip stream, and the proxy ends the message
properly: no length is wrong and no chunk is missing. Decoders hand out what they have and say nothing, so that half a
document is taken for the document. Each of the encodings says where it ends, and its decoder knows whether that has
come.

Not cut off is a body without a single byte, whatever its header says (HEAD, 204, 304, an empty body), and one that is
followed by garbage, as other clients tolerate it. A second member of a gzip stream has to be whole, if it is one.
"""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Iterator
from typing import Any

TEXT = "the body ends within its content encoding"
"""What errors say of such a body."""

_EMPTY = tuple(zlib.compressobj(wbits=bits).flush() for bits in (16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS))
_PIECE = 1 << 20  # bytes
_SWALLOW = 2  # state of the gzip decoder of urllib3 behind the last member


def is_cut_off(decoder: Any) -> bool:
    """Return whether a decoder of urllib3 has decoded the beginning of something, and not its end.

    Args:
        decoder: The decoder; one of an unknown kind has decoded all that there is.
    """
    several = getattr(decoder, "_decoders", None)
    if several is not None:
        return any(map(is_cut_off, several))
    stream, state = getattr(decoder, "_obj", None), getattr(decoder, "_state", 0)
    if state == _SWALLOW or is_complete(stream):
        return False
    return not hasattr(stream, "unconsumed_tail") or not (_is_fresh(stream) or (state and _is_at_garbage(stream)))


def is_complete(stream: Any) -> bool:
    """Return whether a decompressor has come to the end of its stream, or cannot say."""
    if hasattr(stream, "eof"):  # zlib, zstd
        return bool(stream.eof)
    ask = getattr(stream, "is_finished", None)  # brotli
    return ask is None or bool(ask())


def _is_fresh(stream: Any) -> bool:
    """Return whether a decompressor of zlib has got no byte yet: then it accepts a whole stream of its kind."""
    return any(_tries(stream, whole) for whole in _EMPTY)


def _tries(stream: Any, data: bytes) -> bool:
    copy = stream.copy()
    try:
        copy.decompress(data)
    except zlib.error:
        return False
    return bool(copy.eof) and not copy.unused_data


def _is_at_garbage(stream: Any) -> bool:
    """Return whether no byte can follow what a decompressor of zlib has got, which was too little for it to say so."""
    return not any(_accepts(stream, bytes((value,))) for value in range(256))


def _accepts(stream: Any, data: bytes) -> bool:
    try:
        stream.copy().decompress(data)
    except zlib.error:
        return False
    return True


class EncodingCheck:
    """Follows a body as it came over the wire, for shells whose client decodes it later.

    Args:
        encoding: The value of `Content-Encoding`, or None.
    """

    __slots__ = ("_streams",)

    def __init__(self, encoding: str | None) -> None:
        names = [name.strip() for name in encoding.lower().split(",")] if encoding else []
        self._streams = [_Stream(name) for name in reversed(names) if name in _KINDS]

    def feed(self, data: bytes) -> None:
        """Decode the next bytes; where they cannot be decoded, the client will say so."""
        try:
            self._feed(0, data)
        except Exception:  # noqa: BLE001 - each decompressor has errors of its own
            self._streams = []

    def _feed(self, number: int, data: bytes) -> None:
        if number < len(self._streams):
            for piece in self._streams[number].decode(data):
                self._feed(number + 1, piece)

    @property
    def is_cut_off(self) -> bool:
        """Whether the body so far is the beginning of something encoded, and not the whole."""
        return any(stream.is_cut_off for stream in self._streams)


class _Stream:
    """The decoder of one encoding, as httpx decodes it."""

    __slots__ = ("_kind", "_stream")

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._stream: Any = None

    def decode(self, data: bytes) -> Iterator[bytes]:
        """Yield decoded bytes, in pieces of a bounded size where the decoder can bound them."""
        while data:
            stream, is_first = self._stream, self._stream is None
            if is_first or (self._kind == "zstd" and stream.eof):  # which may have several frames
                stream = self._stream = _KINDS[self._kind]()
            if is_complete(stream):
                return
            try:
                yield stream.decompress(data, _PIECE) if hasattr(stream, "unconsumed_tail") else stream.decompress(data)
            except zlib.error:
                if self._kind != "deflate" or not is_first:
                    raise
                self._stream = zlib.decompressobj(-zlib.MAX_WBITS)  # many servers leave out the header of zlib
                continue
            data = getattr(stream, "unconsumed_tail", b"") or (stream.unused_data if self._kind == "zstd" else b"")

    @property
    def is_cut_off(self) -> bool:
        """Whether it has got the beginning of something, and not its end."""
        return self._stream is not None and not is_complete(self._stream)


def _make_brotli() -> Any:
    try:
        brotli = importlib.import_module("brotlicffi")
    except ImportError:
        brotli = importlib.import_module("brotli")
    decompressor = brotli.Decompressor()
    if not hasattr(decompressor, "decompress"):
        decompressor = _Brotli(decompressor)
    return decompressor


class _Brotli:
    """A decompressor of the package `brotli`, whose method has another name."""

    def __init__(self, stream: Any) -> None:
        self.decompress, self.is_finished = stream.process, stream.is_finished


def _make_zstd() -> Any:
    return importlib.import_module("zstandard").ZstdDecompressor().decompressobj()


_KINDS: dict[str, Any] = {
    "gzip": lambda: zlib.decompressobj(16 + zlib.MAX_WBITS),
    "x-gzip": lambda: zlib.decompressobj(16 + zlib.MAX_WBITS),
    "deflate": zlib.decompressobj,
    "br": _make_brotli,
    "zstd": _make_zstd,
}
