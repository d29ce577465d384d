"""Read the fields of a model from the keys of a JSON object that another program has written."""

from typing import Any

from pydantic import BaseModel

from app.core.formats._column_names import fold_name
from app.core.formats._read_options import ReadOptions


class JsonMapping:
    """Maps the keys of JSON objects to the fields of a model."""

    def __init__(self, model: type[BaseModel], options: ReadOptions) -> None:
        self._options = options
        self._field_names = model.model_fields.keys()

    def map_value(self, value: Any) -> Any:
        """Return the fields of a JSON object. Return other values as they are.

        For example, with `--column author=author.name`, `{"author": {"name": "A"}, "Title": "T"}`
        becomes `{"author": "A", "title": "T"}`. Keys from which no field is read are only returned
        if they are errors.
        """
        if not isinstance(value, dict):
            return value
        # Most objects have exactly the names of the fields.
        if not self._options.columns and value.keys() <= self._field_names:
            return value

        keys_by_folded_name = {fold_name(key): key for key in value}
        fields: dict[str, Any] = {}
        used_keys: set[str] = set()
        for field_name in self._field_names:
            column = self._options.column_of(field_name)
            key = column if column in value else keys_by_folded_name.get(fold_name(column))
            if key is not None:
                fields[field_name] = value[key]
                used_keys.add(key)
            elif "." in column:
                fields.update(_read_nested_value(value, field_name, column))
        if not self._options.ignores_other_columns:
            fields.update({key: value[key] for key in value if key not in used_keys})
        return fields


def _read_nested_value(json_object: dict[str, Any], field_name: str, column: str) -> dict[str, Any]:
    """Return the value at a path such as `author.name` as a field.

    Returns an empty dict if the object has no such path.
    """
    value: Any = json_object
    for key in column.split("."):
        if not isinstance(value, dict) or key not in value:
            return {}
        value = value[key]
    return {field_name: value}
