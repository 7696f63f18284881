"""Files: objects in buckets."""

from __future__ import annotations

import json
import mimetypes
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

from polvo_adapters.services.taruvi import checks
from polvo_adapters.services.taruvi.operations import Call, Mode_co, Module, Operation, Runner, operation
from polvo_adapters.services.taruvi.responses import fetch, fetch_data, fetch_envelope, fetch_list, find_items

if TYPE_CHECKING:
    from typing_extensions import Self

_FILTERS = ("page", "page_size", "search", "mimetype", "mimetype_category", "visibility", "ordering", "name", "size")
_OPERATORS = ("eq", "contains", "startswith", "endswith", "gt", "gte", "lt", "lte", "in")
_VISIBILITIES = ("private", "public")
_UNSET: Any = object()


class Bucket(Module[Mode_co]):
    """The objects of a bucket.

    Args:
        client: The client that asks.
        slug: The bucket.
    """

    def __init__(self, client: Runner, slug: str) -> None:
        super().__init__(client)
        self._objects = f"{self._app}/storage/buckets/{checks.segment('bucket', slug)}/objects/"
        self._filters: list[tuple[str, str]] = []

    def filter(self, field: str | None = None, operator: str = "eq", value: Any = _UNSET, **fields: Any) -> Self:
        """Keep the objects for which a comparison holds.

        Args:
            field: What is compared, such as "mimetype".
            operator: "eq", "contains", "startswith", "endswith", "gt", "gte", "lt", "lte" or "in".
            value: What it is compared with.
            **fields: Values by name, such as `page=2`, `page_size=50` or `search="invoice"`.
        """
        if field is not None:
            if operator not in _OPERATORS:
                raise checks.refuse("operator", f"{operator!r} is none of {', '.join(_OPERATORS)}")
            if value is _UNSET:
                raise checks.refuse("value", "it is missing")
            name = checks.require_text("field", field)
            self._filters.append((name if operator == "eq" else f"{name}__{operator}", _format(value)))
        for name, each in fields.items():
            if name not in _FILTERS:
                raise checks.refuse(name, f"it is none of {', '.join(_FILTERS)}")
            self._filters.append((name, _format(each)))
        return self

    @operation
    def list(self) -> Operation[dict[str, Any]]:
        """Return the objects, in "results"."""
        path = self._objects if self._is_current else self._objects.rstrip("/")
        return (yield from fetch_list(Call("GET", path, list(self._filters))))

    @operation
    def browse(
        self, prefix: str = "", page: int = 1, page_size: int = 50, sort: str = "name", order: str = "asc"
    ) -> Operation[Any]:
        """Return the folders and objects below a prefix."""
        params = [
            ("prefix", prefix),
            ("page", str(checks.require_count("page", page, 1))),
            ("page_size", str(checks.require_count("page_size", page_size, 1))),
            ("sort", checks.require_text("sort", sort)),
            ("order", checks.require_text("order", order)),
        ]
        return (yield from fetch_data(Call("GET", f"{self._objects}browse/", params)))

    @operation
    def upload(
        self,
        files: Sequence[Mapping[str, Any] | tuple[Any, ...]],
        paths: Sequence[str] | None = None,
        metadatas: Sequence[Mapping[str, Any]] | None = None,
        timeout: float | None = None,
    ) -> Operation[Any]:
        """Upload files in one request, and return what the server says of them.

        Args:
            files: Files: dicts with "file" (bytes, or a file opened in binary mode, which is read from where it stands
                and stays open), "name", and perhaps "path", "content_type" and "metadata"; or tuples of name, file and
                perhaps type.
            paths: Where each goes in the bucket; by default its name.
            metadatas: What is kept with each.
            timeout: Seconds for this call in place of the client's timeout.
        """
        if not isinstance(files, (list, tuple)) or not files:
            raise checks.refuse("files", "it must be a list of files that is not empty")
        opened = [_read_file(each) for each in files]
        places = [each["path"] for each in opened] if paths is None else list(paths)
        about = [each["metadata"] for each in opened] if metadatas is None else list(metadatas)
        if len(places) != len(opened) or len(about) != len(opened):
            raise checks.refuse("paths", "there must be one for each file, and metadata likewise")
        for place in places:
            checks.object_path("paths", place)
        fields = {"paths": json.dumps(places)}
        if any(about):
            fields["metadata"] = json.dumps(checks.require_json("metadatas", about))
        parts = [("files", (each["name"], each["content"], each["type"])) for each in opened]
        call = Call("POST", f"{self._objects}batch-upload/", fields=fields, files=parts, timeout=timeout)
        return (yield from fetch_data(call))

    @operation
    def download(self, path: str, to: BinaryIO | None = None, timeout: float | None = None) -> Operation[bytes]:
        """Return the content of an object.

        Args:
            path: The object.
            to: A file that is open for writing in binary mode, for objects that are larger than memory: the content is
                written there as it comes, and what is returned is empty.
            timeout: Seconds for this call in place of the client's timeout.
        """
        reply = yield from fetch(Call("GET", self._object(path), timeout=timeout, target=to))
        return reply.body

    @operation
    def update(
        self,
        path: str,
        metadata: Mapping[str, Any] | None = None,
        visibility: str | None = None,
    ) -> Operation[Any]:
        """Change what is kept with an object, and return it.

        Args:
            path: The object.
            metadata: Names and values; a "visibility" among them is that of the object.
            visibility: "private" or "public".
        """
        body: dict[str, Any] = {}
        given = {} if metadata is None else checks.require_mapping("metadata", metadata)
        visibility = given.pop("visibility", None) if visibility is None else visibility
        if given:
            body["metadata"] = checks.require_json("metadata", given)
        if visibility is not None:
            body["visibility"] = _require_visibility(visibility)
        if not body:
            raise checks.refuse("metadata", "nothing is to be changed")
        method = "PATCH" if self._is_current else "PUT"
        return (yield from fetch_data(Call(method, self._object(path), body=body)))

    @operation
    def delete(self, paths: Sequence[str]) -> Operation[Any]:
        """Delete objects in one request."""
        names = checks.require_names("paths", [paths] if isinstance(paths, str) else paths, 10_000)
        return (yield from fetch_data(Call("POST", f"{self._objects}batch-delete/", body={"paths": names})))

    @operation
    def copy_object(
        self,
        source_path: str,
        destination_path: str | None = None,
        destination_bucket: str | None = None,
        *,
        destination_name: str | None = None,
    ) -> Operation[Any]:
        """Copy an object.

        Args:
            source_path: The object.
            destination_path: Where the copy goes; by default the same path.
            destination_bucket: The bucket of the copy; by default this one.
            destination_name: As `destination_path`.
        """
        destination = destination_path or destination_name
        return (yield from self._transfer("copy", source_path, destination, destination_bucket))

    @operation
    def move_object(
        self,
        source_path: str,
        destination_path: str | None = None,
        destination_bucket: str | None = None,
        *,
        destination_name: str | None = None,
    ) -> Operation[Any]:
        """Move an object; arguments as for `copy_object`."""
        destination = destination_path or destination_name
        return (yield from self._transfer("move", source_path, destination, destination_bucket))

    @operation
    def view_access(self, path: str) -> Operation[Any]:
        """Return how an object can be viewed in a browser."""
        return (yield from fetch_data(Call("GET", f"{self._objects}{checks.object_path('path', path)}/view/")))

    @operation
    def edit_access(self, path: str) -> Operation[Any]:
        """Return how an object can be edited in a browser."""
        return (yield from fetch_data(Call("GET", f"{self._objects}{checks.object_path('path', path)}/edit/")))

    def _object(self, path: str) -> str:
        return f"{self._objects}{checks.object_path('path', path)}{'/' if self._is_current else ''}"

    def _transfer(self, verb: str, source: str, destination: str | None, bucket: str | None) -> Operation[Any]:
        if destination is None and bucket is None:
            raise checks.refuse("destination_path", "neither a path nor a bucket is given")
        body = {"source_path": source, "destination_path": source if destination is None else destination}
        for name, path in body.items():
            checks.object_path(name, path)
        if bucket is not None:
            checks.segment("destination_bucket", bucket)
            body["destination_bucket"] = bucket
        return (yield from fetch_data(Call("POST", f"{self._objects}{verb}/", body=body)))


class Storage(Module[Mode_co]):
    """Buckets of the app."""

    def from_(self, bucket: str) -> Bucket[Mode_co]:
        """Return the objects of a bucket."""
        return Bucket(self._client, bucket)

    @operation
    def list_buckets(
        self, search: str | None = None, page: int | None = None, page_size: int | None = None
    ) -> Operation[list[dict[str, Any]]]:
        """Return the buckets; those that fit what is given."""
        params = [] if search is None else [("search", checks.require_text("search", search))]
        for name, number in (("page", page), ("page_size", page_size)):
            if number is not None:
                params.append((name, str(checks.require_count(name, number, 1))))
        return find_items((yield from fetch_envelope(Call("GET", self._buckets(), params)))) or []

    @operation
    def create_bucket(
        self,
        /,
        name: str,
        description: str | None = None,
        visibility: str = "private",
        app_category: str = "attachments",
        **attributes: Any,
    ) -> Operation[dict[str, Any]]:
        """Create a bucket, and return it; further keywords are sent as they are."""
        body: dict[str, Any] = {"name": checks.require_text("name", name)}
        if self._is_current:
            body["app_category"] = checks.require_text("app_category", app_category)
        body["visibility"] = _require_visibility(visibility)
        body.update(attributes)
        if description is not None:
            body["description"] = description
        bucket: dict[str, Any] = yield from fetch_data(
            Call("POST", self._buckets(), body=checks.require_json("attributes", body))
        )
        return bucket

    @operation
    def get_bucket(self, slug: str) -> Operation[dict[str, Any]]:
        """Return a bucket."""
        bucket: dict[str, Any] = yield from fetch_data(Call("GET", self._buckets(slug)))
        return bucket

    @operation
    def update_bucket(
        self, /, slug: str, data: Mapping[str, Any] | None = None, **attributes: Any
    ) -> Operation[dict[str, Any]]:
        """Change what is given of a bucket, as a dict or as keywords, and return it."""
        body = {**({} if data is None else checks.require_mapping("data", data)), **attributes}
        if not body:
            raise checks.refuse("data", "nothing is to be changed")
        bucket: dict[str, Any] = yield from fetch_data(
            Call("PATCH", self._buckets(slug), body=checks.require_json("data", body))
        )
        return bucket

    @operation
    def delete_bucket(self, slug: str) -> Operation[None]:
        """Delete a bucket."""
        yield from fetch(Call("DELETE", self._buckets(slug)))

    def _buckets(self, slug: str | None = None) -> str:
        path = f"{self._app}/storage/buckets/"
        return path if slug is None else f"{path}{checks.segment('bucket', slug)}/"


def _read_file(given: Mapping[str, Any] | tuple[Any, ...]) -> dict[str, Any]:
    """Return name, content, type, path and metadata of a file that is to be uploaded."""
    if isinstance(given, tuple) and len(given) in (2, 3):
        given = dict(zip(("name", "file", "content_type"), given, strict=False))
    if not isinstance(given, Mapping) or "file" not in given:
        raise checks.refuse("files", "a file is a dict with 'file' and 'name', or a tuple of name and file")
    source = given["file"]
    name = given.get("name") or os.path.basename(str(getattr(source, "name", "")))
    name = checks.require_text("name", name)
    content = source if isinstance(source, (bytes, bytearray)) else _read(source)
    return {
        "name": name,
        "content": bytes(content),
        "type": given.get("content_type") or mimetypes.guess_type(name)[0] or "application/octet-stream",
        "path": given.get("path") or name,
        "metadata": given.get("metadata") or {},
    }


def _read(source: Any) -> bytes:
    read = getattr(source, "read", None)
    content = read() if callable(read) else None
    if not isinstance(content, bytes):
        raise checks.refuse("file", "it must be bytes, or a file that is open for reading in binary mode")
    return content


def _require_visibility(value: object) -> str:
    if value not in _VISIBILITIES:
        raise checks.refuse("visibility", f"{value!r} is neither 'private' nor 'public'")
    return str(value)


def _format(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
