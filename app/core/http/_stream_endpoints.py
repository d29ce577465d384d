"""Endpoints that stream a whole list as a file: `GET /books.csv` and `GET /books.ndjson`."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Query, Request, Response
from pydantic import BaseModel

from app.core.access import Permission
from app.core.errors import TooManyRequests
from app.core.formats import create_writer
from app.core.http._crud_operations import set_endpoint_metadata
from app.core.http._openapi_examples import MissingExample, build_example
from app.core.http._router import Router
from app.core.http._stream_formats import STREAM_FORMATS, StreamFormat
from app.core.http._stream_queries import StreamQuery, build_stream_query
from app.core.http._streams import CreateStreamingService, stream_list
from app.core.paging import PageQuery


@dataclass(frozen=True, kw_only=True)
class StreamEndpoints:
    """Declares the endpoints that stream a list, one for each file format.

        StreamEndpoints(
            plural="books",
            create_service=BookService,
            item_model=BookRead,
            query_model=BookQuery,
            permission="catalog:read",
        ).add_to(router, "/books")

    The operations have the ids `download_books_csv` and `download_books_ndjson`. They have the
    filters and sort keys of the list, but no parameters of pages.
    """

    # The name of the items in descriptions, for example "books" or "order lines".
    plural: str
    # Creates the service that reads the items, for example the class of the service.
    create_service: CreateStreamingService
    item_model: type[BaseModel]
    # The query parameters of the list.
    query_model: type[PageQuery]
    permission: Permission

    def add_to(self, router: Router, path: str) -> None:
        """Add the endpoints to a router.

        Raises `TypeError` if the items cannot be written as CSV, or if a parameter of the list has
        the name of an option of CSV files.

        Args:
            router: The router of the entity.
            path: The path of the list, which the path of each stream extends. It is relative to
                the prefix of the router.
        """
        for stream_format in STREAM_FORMATS:
            self._add_endpoint(router, path, stream_format)

    def _add_endpoint(self, router: Router, path: str, stream_format: StreamFormat) -> None:
        """Add the endpoint of one file format."""
        _, _, list_name = (router.prefix + path).rpartition("/")
        file_name = f"{list_name}.{stream_format.extension}"

        async def download_items(query: StreamQuery, request: Request) -> Response:
            """Stream all items that match the query."""
            return await stream_list(
                request, stream_format, file_name, query, self.item_model, self.create_service
            )

        summary = f"Download {self.plural} as {stream_format.title}."
        content = "It contains the whole list, filtered and sorted, from one snapshot."
        query_type: Any = build_stream_query(self.query_model, stream_format.query_base)
        set_endpoint_metadata(
            download_items,
            operation_id=f"download_{self.plural}_{stream_format.extension}",
            docstring=f"{summary}\n\n{stream_format.description} {content}",
            types={"query": Annotated[query_type, Query()]},
        )
        router.get(
            f"{path}.{stream_format.extension}",
            permission=self.permission,
            errors=[TooManyRequests],
            response_class=Response,
            responses={200: self._build_openapi_response(stream_format)},
        )(download_items)

    def _build_openapi_response(self, stream_format: StreamFormat) -> dict[str, Any]:
        """Return the description of a response, with an example file of one item.

        Raises `TypeError` if the items cannot be written as CSV.
        """
        model_name = self.item_model.__name__
        media_type_object: dict[str, Any] = {
            "schema": {"type": "string", "description": f"A file with one {model_name} per line"}
        }
        writer = create_writer(stream_format.writer_format, self.item_model)
        example_item = self._build_example_item()
        if example_item is not None:
            example_file = writer.header + writer.format_lines([example_item])
            media_type_object["example"] = example_file.decode()
        return {
            "content": {stream_format.media_type: media_type_object},
            "headers": {
                "Content-Disposition": {"$ref": "#/components/headers/Content-Disposition"}
            },
        }

    def _build_example_item(self) -> BaseModel | None:
        """Return an instance of the model, built from the documented examples of its fields.

        Returns None if a required field does not have an example. A test reports such fields, and
        the service still starts.
        """
        schema = self.item_model.model_json_schema(mode="serialization")
        try:
            example_values = build_example(schema, schema.get("$defs", {}))
        except MissingExample:
            return None
        return self.item_model.model_validate(example_values)
