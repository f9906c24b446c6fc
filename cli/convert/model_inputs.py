"""What a fitted estimator takes: a matrix, or a named input a column where a ColumnTransformer tells them apart."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from refusal import unsupported, usage
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline

KINDS = ("float32", "int64", "string")


@dataclass
class Input:
    name: str
    kind: str
    columns: list  # of the data frame of rows


@dataclass
class Signature:
    inputs: list
    columns: list  # every column the estimator was fitted on: names, or 0, 1, 2 … where it has none
    named: bool  # whether scikit-learn wants a data frame

    def kinds(self):
        return {column: entry.kind for entry in self.inputs for column in entry.columns}

    def for_sklearn(self, rows):
        return rows if self.named else rows[self.columns].to_numpy()

    def for_onnx(self, rows):
        dtypes = {"float32": np.float32, "int64": np.int64, "string": np.object_}
        return {entry.name: rows[entry.columns].to_numpy(dtypes[entry.kind]) for entry in self.inputs}


def decide(estimator, given, table):
    """`given` are kinds that the user names, `table` the samples as text, or None."""
    names = getattr(estimator, "feature_names_in_", None)
    count = getattr(estimator, "n_features_in_", None)
    if count is None:
        what = type(first_step(estimator)).__name__
        raise unsupported(f"{what} does not say how many features it has (n_features_in_), as models of raw text")
    columns = list(range(count)) if names is None else [str(name) for name in names]
    if unknown := sorted(set(given) - {str(column) for column in columns} - {"X"}):
        raise usage(f"a type is given for {unknown[0]}; allowed: {', '.join(map(str, columns[:50]))}")
    if bad := sorted(set(given.values()) - set(KINDS)):
        raise usage(f"found type {bad[0]}; allowed: {', '.join(KINDS)}")
    first = first_step(estimator)
    if isinstance(first, ColumnTransformer) and names is not None:
        used = fitted_columns(first, columns)
        kinds = {column: column_kind(column, used[column], given, table) for column in columns if column in used}
        return Signature([Input(column, kind, [column]) for column, kind in kinds.items()], columns, True)
    return Signature([Input("X", matrix_kind(first, columns, given), columns)], columns, names is not None)


def first_step(estimator):
    """The part that sees the columns first."""
    while True:
        if hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif isinstance(estimator, Pipeline):
            steps = [step for _, step in estimator.steps if step is not None and step != "passthrough"]
            if not steps:
                return estimator
            estimator = steps[0]
        else:
            return estimator


def fitted_columns(transformer, columns):
    """{column: [(transformer, position among its columns)]}, without the columns that every transformer drops."""
    used = {}
    for _, part, selected in transformer.transformers_:
        if isinstance(part, str) and part == "drop":
            continue
        for position, column in enumerate(resolve(selected, columns)):
            used.setdefault(column, []).append((part, position))
    return used


def resolve(selected, columns):
    if isinstance(selected, (str, int, np.integer)):
        selected = [selected]
    if isinstance(selected, slice):
        start, stop = selected.start, selected.stop
        if isinstance(start, str) or isinstance(stop, str):  # by name, the end included
            start = columns.index(start) if start is not None else None
            stop = columns.index(stop) + 1 if stop is not None else None
        return columns[slice(start, stop, selected.step)]
    selected = list(selected)
    if selected and all(isinstance(one, (bool, np.bool_)) for one in selected):
        return [column for column, taken in zip(columns, selected, strict=True) if taken]
    return [columns[one] if isinstance(one, (int, np.integer)) else str(one) for one in selected]


def column_kind(column, uses, given, table):
    if column in given:
        return given[column]
    for part, position in uses:
        if kind := transformer_kind(part, position):
            return kind
    if table is not None and column in table.columns:
        texts = table[column][table[column] != ""]
        return "float32" if pd.to_numeric(texts, errors="coerce").notna().all() else "string"
    raise unsupported(f"nothing in it tells whether the column {column} holds numbers or text; pass --samples data.csv")


def transformer_kind(part, position):
    """What a fitted transformer takes in its n-th column. None: it would take anything."""
    if isinstance(part, str):
        return None  # passthrough
    if isinstance(part, Pipeline):
        first = first_step(part)
        return None if first is part else transformer_kind(first, position)
    if hasattr(part, "categories_"):
        return kind_of_values(part.categories_[position])
    if hasattr(part, "statistics_"):  # SimpleImputer keeps the type of what it has seen
        return kind_of_values(np.asarray(part.statistics_[position : position + 1]))
    if hasattr(part, "vocabulary_"):
        return "string"
    tags = part.__sklearn_tags__()
    open_to_text = tags.input_tags.string or tags.input_tags.categorical or tags.no_validation
    return None if open_to_text or isinstance(part, ColumnTransformer) else "float32"


def kind_of_values(values):
    if values.dtype.kind in "iub":
        return "int64"
    if values.dtype.kind == "f":
        return "float32"
    return "string" if any(isinstance(one, str) for one in values.tolist()) else "float32"


def matrix_kind(first, columns, given):
    if "X" in given:
        return given["X"]
    if not hasattr(first, "categories_"):
        return "float32"
    kinds = {kind_of_values(values) for values in first.categories_}
    if len(kinds) > 1:
        raise unsupported(
            f"{type(first).__name__} encodes columns of different types, which one matrix cannot hold; "
            "fit a ColumnTransformer on a data frame, so that every column becomes an input of its own"
        )
    return kinds.pop()


# ---------------------------------------------------------------------------------------------------------------------
# Samples


def read_table(path):
    """A CSV file with a header line, every field as text."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError, pd.errors.ParserError) as error:
        raise usage(f"--samples {path}: {error}") from error
    if table.empty:
        raise usage(f"--samples {path}: no rows")
    return table


def rows_of_table(table, signature, path):
    if not signature.named and len(table.columns) != len(signature.columns):
        raise usage(
            f"--samples {path}: {len(table.columns)} columns; allowed: {len(signature.columns)}, "
            "because the model knows no column names to choose by"
        )
    kinds = signature.kinds()
    rows = {}
    for index, column in enumerate(signature.columns):
        if column not in kinds:
            continue  # dropped by the model; its absence must not matter
        if signature.named and column not in table.columns:
            raise usage(f"--samples {path}: no column {column}; found: {', '.join(table.columns[:50])}")
        texts = table[column] if signature.named else table.iloc[:, index]
        kind = kinds[column]
        rows[column] = texts.astype(object) if kind == "string" else numbers(texts, kind, column, path)
    return pd.DataFrame(rows)


def numbers(texts, kind, column, path):
    values = pd.to_numeric(texts.where(texts != "", "nan"), errors="coerce")
    allowed = values.notna() | texts.str.strip().str.lower().isin(["", "nan"])
    if kind == "int64":
        allowed = values.notna() & (values % 1 == 0)
    if not allowed.all():
        line = int(np.argmin(allowed.to_numpy()))
        raise usage(f"--samples {path}: line {line + 2}, column {column}: found {texts.iloc[line]!r}; allowed: {kind}")
    return values.astype(kind)
