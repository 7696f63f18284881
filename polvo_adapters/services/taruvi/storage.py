"""Files: objects in buckets."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

from polvo_adapters.services.taruvi import addresses, checks
from polvo_adapters.services.taruvi.operations import Call, Mode_co, Module, Operation, Runner, operation
from polvo_adapters.services.taruvi.responses import fetch, fetch_data, fetch_items, fetch_list, fetch_record
from polvo_adapters.services.taruvi.uploads import describe_upload

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
        self._objects = f"{self._app}/storage/buckets/{addresses.segment('bucket', slug)}/objects/"
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
            checks.require_choice("operator", operator, _OPERATORS)
            if value is _UNSET:
                raise checks.refuse("value", "it is missing")
            name = checks.require_text("field", field)
            self._filters.append(
                (name if operator == "eq" else f"{name}__{operator}", checks.format_value("value", value))
            )
        for name, each in fields.items():
            if name not in _FILTERS:
                raise checks.refuse(name, f"it is none of {', '.join(_FILTERS)}")
            self._filters.append((name, checks.format_value(name, each)))
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
        params = [("prefix", "" if prefix == "" else checks.require_text("prefix", prefix))]
        params += checks.list_pages(
            checks.require_count("page", page, 1), checks.require_count("page_size", page_size, 1)
        )
        params += checks.list_texts(sort=checks.require_text("sort", sort), order=checks.require_text("order", order))
        return (yield from fetch_data(Call("GET", f"{self._objects}browse/", params)))

    @operation
    def upload(
        self,
        files: Iterable[Mapping[str, Any] | tuple[Any, ...]],
        paths: Iterable[str] | None = None,
        metadatas: Iterable[Mapping[str, Any]] | None = None,
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
        if timeout is not None:
            checks.require_seconds("timeout", timeout)
        described = [describe_upload(each) for each in checks.require_items("files", files)]
        places = [each.path for each in described] if paths is None else checks.require_names("paths", paths)
        about = [each.metadata for each in described] if metadatas is None else _require_metadatas(metadatas)
        for name, values in (("paths", places), ("metadatas", about)):
            if len(values) != len(described):
                raise checks.refuse(name, f"there are {len(values)} of them for {len(described)} files")
        for place in places:
            addresses.object_path("paths", place)
        fields = {"paths": json.dumps(places)}
        if any(about):
            fields["metadata"] = json.dumps(about)
        parts = [("files", (each.name, each.read(), each.kind)) for each in described]
        call = Call("POST", f"{self._objects}batch-upload/", fields=fields, files=parts, timeout=timeout, is_file=True)
        return (yield from fetch_data(call, may_be_empty=True))

    @operation
    def download(self, path: str, to: BinaryIO | None = None, timeout: float | None = None) -> Operation[bytes]:
        """Return the content of an object.

        Args:
            path: The object.
            to: A file that is open for writing in binary mode, for objects that are larger than memory: the content is
                written there as it comes, and what is returned is empty. Of content that breaks off nothing stays in
                the file, if it can be cut off.
            timeout: Seconds for this call in place of the client's timeout.
        """
        if timeout is not None:
            checks.require_seconds("timeout", timeout)
        if to is not None:
            _require_target(to)
        reply = yield from fetch(Call("GET", self._object(path), timeout=timeout, target=to, is_file=True))
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
        return (yield from fetch_data(Call(method, self._object(path), body=body), may_be_empty=True))

    @operation
    def delete(self, paths: Iterable[str]) -> Operation[Any]:
        """Delete objects in one request."""
        names = checks.require_names("paths", [paths] if isinstance(paths, str) else paths)
        for name in names:
            addresses.object_path("paths", name)
        call = Call("POST", f"{self._objects}batch-delete/", body={"paths": names})
        return (yield from fetch_data(call, may_be_empty=True))

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
        named = {"destination_path": destination_path, "destination_name": destination_name}
        return (yield from self._transfer("copy", source_path, named, destination_bucket))

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
        named = {"destination_path": destination_path, "destination_name": destination_name}
        return (yield from self._transfer("move", source_path, named, destination_bucket))

    @operation
    def view_access(self, path: str) -> Operation[Any]:
        """Return how an object can be viewed in a browser."""
        return (yield from fetch_data(Call("GET", f"{self._objects}{addresses.object_path('path', path)}/view/")))

    @operation
    def edit_access(self, path: str) -> Operation[Any]:
        """Return how an object can be edited in a browser."""
        return (yield from fetch_data(Call("GET", f"{self._objects}{addresses.object_path('path', path)}/edit/")))

    def _object(self, path: str) -> str:
        return f"{self._objects}{addresses.object_path('path', path)}{'/' if self._is_current else ''}"

    def _transfer(self, verb: str, source: str, named: Mapping[str, str | None], bucket: str | None) -> Operation[Any]:
        destinations = {name: path for name, path in named.items() if path is not None}
        if len(destinations) > 1:
            raise checks.refuse(", ".join(destinations), "only one of them is needed")
        if not destinations and bucket is None:
            raise checks.refuse("destination_path", "neither a path nor a bucket is given")
        for name, path in {"source_path": source, **destinations}.items():
            addresses.object_path(name, path)
        body = {"source_path": source, "destination_path": next(iter(destinations.values()), source)}
        if bucket is not None:
            addresses.segment("destination_bucket", bucket)
            body["destination_bucket"] = bucket
        return (yield from fetch_data(Call("POST", f"{self._objects}{verb}/", body=body), may_be_empty=True))


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
        params = [*checks.list_texts(search=search), *checks.list_pages(page, page_size)]
        return (yield from fetch_items(Call("GET", self._buckets(), params)))

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
        category = checks.require_text("app_category", app_category)
        if self._is_current:
            body["app_category"] = category
        body["visibility"] = _require_visibility(visibility)
        body |= {each: checks.require_json(each, value) for each, value in attributes.items()}
        if description is not None:
            body["description"] = "" if description == "" else checks.require_text("description", description)
        return (yield from fetch_record(Call("POST", self._buckets(), body=body)))

    @operation
    def get_bucket(self, slug: str) -> Operation[dict[str, Any]]:
        """Return a bucket."""
        return (yield from fetch_record(Call("GET", self._bucket(slug))))

    @operation
    def update_bucket(
        self, /, slug: str, data: Mapping[str, Any] | None = None, **attributes: Any
    ) -> Operation[dict[str, Any]]:
        """Change what is given of a bucket, as a dict or as keywords, and return it."""
        path = self._bucket(slug)
        body = {**({} if data is None else checks.require_mapping("data", data)), **attributes}
        if not body:
            raise checks.refuse("data", "nothing is to be changed")
        return (yield from fetch_record(Call("PATCH", path, body=checks.require_json("data", body))))

    @operation
    def delete_bucket(self, slug: str) -> Operation[None]:
        """Delete a bucket."""
        yield from fetch(Call("DELETE", self._bucket(slug)))

    def _buckets(self) -> str:
        return f"{self._app}/storage/buckets/"

    def _bucket(self, slug: str) -> str:
        return f"{self._buckets()}{addresses.segment('slug', slug)}/"


def _require_visibility(value: object) -> str:
    return checks.require_choice("visibility", value, _VISIBILITIES)


def _require_metadatas(values: object) -> list[dict[str, Any]]:
    found = [checks.require_mapping("metadatas", each) for each in checks.require_items("metadatas", values)]
    return [checks.require_json("metadatas", each) for each in found]


def _require_target(value: object) -> None:
    writable = callable(getattr(value, "write", None)) and not isinstance(value, (io.TextIOBase, type))
    if not writable or getattr(value, "closed", False):
        raise checks.refuse("to", "it must be a file that is open for writing in binary mode")
