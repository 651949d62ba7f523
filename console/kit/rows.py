"""Writing many rows in one statement: with values of their own, or from other rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import connections, models, router


def write_rows(rows: Sequence[models.Model], fields: Sequence[str]) -> None:
    """Write these fields of rows of one model; other columns are left alone.

    One prepared statement for all of them. ``bulk_update`` would build an expression
    for each value, which costs more than everything else that a report does.
    """
    if not rows:
        return
    model = type(rows[0])
    options = model._meta  # noqa: SLF001 (Django's public API, for all its name)
    connection = connections[router.db_for_write(model)]
    quote = connection.ops.quote_name
    columns: list[Any] = [options.get_field(name) for name in fields]
    assigned = ", ".join(f"{quote(column.column)} = %s" for column in columns)
    key: Any = options.pk
    table = quote(options.db_table)
    with connection.cursor() as cursor:
        cursor.executemany(
            # The names come from the model, and every value is a parameter.
            f"UPDATE {table} SET {assigned} WHERE {quote(key.column)} = %s",  # noqa: S608
            [
                [
                    *(
                        column.get_db_prep_save(
                            getattr(row, column.attname), connection
                        )
                        for column in columns
                    ),
                    row.pk,
                ]
                for row in rows
            ],
        )


def value_of(row: models.Model, name: str) -> models.Value:
    """Return what a field of a row holds, as an expression for `insert_selected`."""
    column: Any = row._meta.get_field(name)  # noqa: SLF001 (as above)
    return models.Value(getattr(row, column.attname), output_field=column)


def insert_selected(
    model: type[models.Model],
    rows: models.QuerySet[Any],
    values: Mapping[str, models.expressions.Combinable],
) -> int:
    """Insert a row of a model for each row of a query, and return how many.

    One statement, ``INSERT … SELECT``, however many they are. ``values`` has, for each
    field, an expression over the query's rows; a plain value is a ``Value`` with its
    ``output_field``. Fields with a default of Django's own have to be named as well.
    """
    options = model._meta  # noqa: SLF001 (Django's public API, for all its name)
    connection = connections[router.db_for_write(model)]
    quote = connection.ops.quote_name
    columns: list[Any] = [options.get_field(name) for name in values]
    named = {f"new_{name}": value for name, value in values.items()}
    selected = rows.order_by().annotate(**named).values_list(*named)
    sql, parameters = selected.query.get_compiler(connection=connection).as_sql()
    into = ", ".join(quote(column.column) for column in columns)
    with connection.cursor() as cursor:
        # The names come from the model, and every value is a parameter.
        cursor.execute(
            f"INSERT INTO {quote(options.db_table)} ({into}) {sql}",
            parameters,
        )
        return int(cursor.rowcount)
