"""Base classes of request and response models, nested models, and the columns of CSV."""

from datetime import date
from typing import Annotated, Any, Self
from uuid import UUID

import pytest
from pydantic import (
    BaseModel,
    Field,
    ValidationError,
    computed_field,
    field_validator,
    model_validator,
)

from app.authors.schemas import AuthorCreate, AuthorUpdate
from app.core.formats import create_writer
from app.core.nested_models import NestedModel, find_nested_models
from app.core.schemas import ReadModel, RequestModel, UpdateModel, Version
from app.users.schemas import UserUpdate


class Inner(BaseModel):
    """A model that other models contain."""

    name: str


class InnerWithId(BaseModel):
    """A nested model with an id."""

    id: int
    name: str


class PrefixedField(BaseModel):
    """A model whose field `b_name` has the column that a field `b` with a nested name has."""

    b_name: str


# Update models


class ShelfCreate(RequestModel):
    """A new shelf."""

    name: str = Field(max_length=10, description="Its name", examples=["A"])
    height: int = Field(default=30, json_schema_extra={"x-unit": "cm"})
    labels: list[str] = Field(default_factory=list)


class ShelfUpdate(UpdateModel, ShelfCreate):
    """Changes to a shelf."""


def test_update_model_accepts_absent_fields() -> None:
    assert ShelfUpdate.model_validate({}).model_dump(exclude_unset=True) == {}
    changes = ShelfUpdate.model_validate({"labels": ["x"]})
    assert changes.model_dump(exclude_unset=True) == {"labels": ["x"]}


@pytest.mark.parametrize("field", ["name", "height", "labels"])
def test_update_model_rejects_null(field: str) -> None:
    with pytest.raises(ValidationError):
        ShelfUpdate.model_validate({field: None})


def test_update_model_has_validation_rules_of_create_model() -> None:
    with pytest.raises(ValidationError):
        ShelfUpdate.model_validate({"name": "longer than ten"})
    with pytest.raises(ValidationError):
        ShelfUpdate.model_validate({"unknown": 1})
    assert ShelfCreate.model_validate({"name": "A"}).height == 30


def test_json_schema_of_update_model_has_descriptions_and_no_defaults() -> None:
    schema = ShelfUpdate.model_json_schema()
    assert "required" not in schema
    assert schema["properties"]["name"]["description"] == "Its name"
    assert schema["properties"]["height"]["x-unit"] == "cm"
    assert not any("default" in part for part in schema["properties"].values())
    assert ShelfCreate.model_json_schema()["properties"]["height"]["default"] == 30


def test_author_update_accepts_null_only_for_nullable_column() -> None:
    assert AuthorUpdate.model_validate({"dob": None}).model_dump(exclude_unset=True) == {
        "dob": None
    }
    assert AuthorCreate.model_fields["name"].is_required()
    with pytest.raises(ValidationError):
        AuthorUpdate.model_validate({"name": None})


def test_update_model_may_add_fields() -> None:
    assert set(UserUpdate.model_fields) == {"name", "email", "password", "role", "current_password"}
    assert UserUpdate.model_validate({}).model_fields_set == set()


class SpanCreate(RequestModel):
    """A span, whose validation rule compares two fields."""

    start: int
    end: Annotated[int, Field(default=9, validate_default=True)]
    label: str = Field("x", validate_default=True)

    @field_validator("label", mode="before")
    @classmethod
    def strip(cls, label: str) -> str:
        return label.strip()

    @model_validator(mode="after")
    def check_order(self) -> Self:
        if self.start > self.end:
            raise ValueError("start must not be after end")
        return self


def test_update_model_raises_type_error_when_it_inherits_model_validator() -> None:
    with pytest.raises(TypeError, match="SpanUpdate inherits the validator `check_order` of SpanC"):
        type("SpanUpdate", (UpdateModel, SpanCreate), {"__module__": __name__})


def test_update_model_may_override_model_validator() -> None:
    class SpanUpdate(UpdateModel, SpanCreate):
        @model_validator(mode="after")
        def check_order(self) -> Self:
            return self

    class ShortSpanUpdate(SpanUpdate):
        length: int

    for model in (SpanUpdate, ShortSpanUpdate):
        assert model.model_validate({}).model_dump(exclude_unset=True) == {}
        changes = model.model_validate({"label": " y "})
        assert changes.model_dump(exclude_unset=True) == {"label": "y"}
    with pytest.raises(ValidationError, match="start must not be after end"):
        SpanCreate.model_validate({"start": 10})


# Read models


@pytest.mark.parametrize(
    ("annotations", "missing"), [({"id": UUID}, "version"), ({"version": Version}, "id")]
)
def test_read_model_raises_type_error_without_id_or_version(
    annotations: dict[str, Any], missing: str
) -> None:
    namespace = {"__annotations__": annotations, "__module__": __name__}
    with pytest.raises(TypeError, match=f"ShelfRead is a ReadModel, so it needs .*`{missing}`"):
        type("ShelfRead", (ReadModel,), namespace)


def test_find_nested_models_returns_models_optional_models_and_lists() -> None:
    class Outer(BaseModel):
        one: Inner
        optional: Inner | None
        many: list[Inner]
        text: str
        number: int | None
        texts: list[str]
        several: Inner | str

    assert find_nested_models(Outer) == {
        "one": NestedModel(Inner, is_optional=False, is_list=False),
        "optional": NestedModel(Inner, is_optional=True, is_list=False),
        "many": NestedModel(Inner, is_optional=False, is_list=True),
    }


# CSV


class Row(BaseModel):
    """A row with every kind of value that CSV can contain."""

    text: str
    flag: bool
    day: Annotated[date, Field(description="A day")] | None
    inner: Inner | None
    inners: list[Inner]
    texts: list[str]


def test_csv_has_a_column_for_every_kind_of_value() -> None:
    writer = create_writer("csv", Row)
    inner = Inner(name='"x", y')
    full = Row(
        text="a", flag=True, day=date(2026, 1, 2), inner=inner, inners=[inner], texts=["é", "b"]
    )
    empty = Row(text="", flag=False, day=None, inner=None, inners=[], texts=[])
    assert writer.header == b"text,flag,day,inner_name,inners,texts\r\n"
    lines = writer.format_lines([full, empty]).decode().splitlines()
    assert lines == [
        'a,true,2026-01-02,"""x"", y","[{""name"": ""\\""x\\"", y""}]","[""é"", ""b""]"',
        ",false,,,[],[]",
    ]


def test_csv_contains_computed_fields() -> None:
    class Box(BaseModel):
        width: int

        @computed_field
        def area(self) -> int:
            return self.width**2

    writer = create_writer("csv", Box)
    assert writer.header + writer.format_lines([Box(width=3)]) == b"width,area\r\n3,9\r\n"


def test_csv_omits_id_of_embedded_row_that_foreign_key_contains() -> None:
    class Outer(BaseModel):
        inner_id: int
        inner: InnerWithId

    assert create_writer("csv", Outer).header == b"inner_id,inner_name\r\n"


def test_csv_raises_type_error_when_two_fields_have_same_column() -> None:
    class Outer(BaseModel):
        inner_name: str
        inner: Inner

    with pytest.raises(TypeError, match=r"CSV has two columns inner_name for Outer\. Rename"):
        create_writer("csv", Outer)

    class Doubled(BaseModel):
        a: PrefixedField
        a_b: Inner

    with pytest.raises(TypeError, match=r"CSV has two columns a_b_name for Doubled\. Rename"):
        create_writer("csv", Doubled)


@pytest.mark.parametrize(
    "annotation",
    [dict[str, str], list[dict[str, str]], Inner | str, Any, bytes, set[str], tuple[int, ...]],
)
def test_csv_raises_type_error_when_type_of_field_is_unsupported(annotation: Any) -> None:
    namespace = {"__annotations__": {"labels": annotation}, "__module__": __name__}
    model = type("ShelfRead", (BaseModel,), namespace)
    with pytest.raises(TypeError, match=r"CSV has no column for ShelfRead\.labels"):
        create_writer("csv", model)
