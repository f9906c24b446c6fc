"""Converts a scikit-learn pickle to ONNX and compares the answers. Run by convert.ts, which owns the files.

    python convert.py '{"file": …, "output": …, "samples": …, "types": {…}}'

Writes `output` only when the answers agree. The last line on stdout is {"report": …} or {"error": CODE, "detail": …};
progress goes to stderr.
"""

import json
import os
import pickle
import re
import sys
import warnings

import refusal


def main(request):
    progress("loading scikit-learn")
    import sklearn

    estimator, saved = load(request["file"])
    name = f"{type(estimator).__module__}.{type(estimator).__qualname__}"
    notes = []
    if saved != sklearn.__version__:
        notes.append(
            f"saved by scikit-learn {saved}, loaded by {sklearn.__version__}: the comparison below is with what "
            f"{sklearn.__version__} makes of the file, which may not be what {saved} did"
        )
    check_estimator(estimator, name, saved)

    import agreement
    import model_inputs
    import sample_rows

    samples = request.get("samples")
    table = model_inputs.read_table(samples) if samples else None
    signature = model_inputs.decide(estimator, request.get("types") or {}, table)
    if table is None:
        rows, unknown = sample_rows.generate(estimator, signature)
        if unknown:
            notes.append(unknown_ranges(unknown, signature))
    else:
        rows = model_inputs.rows_of_table(table, signature, samples)

    progress(f"converting {name}")
    onnx_model = to_onnx(estimator, name, signature)
    progress(f"comparing the answers on {len(rows)} rows")
    expected = sklearn_answers(estimator, signature, rows, generated=table is None)
    found = onnx_answers(onnx_model, signature.for_onnx(rows), expected, notes)
    result = agreement.compare(expected, found, getattr(estimator, "classes_", ()))
    examples = [example(index, expected, found) for index in result.pop("rows")[:5]]
    if not agreement.agrees(result):
        raise refusal.Refusal("ConversionDisagrees", disagreement(result, examples))
    if result["rowsDiffering"]:
        notes.append(f"{disagreement(result, examples)}; this is within the limit of 0.1 % of the rows")
    if result["ties"]:
        notes.append(
            f"on {result['ties']} of {result['rowsCompared']} rows scikit-learn finds two classes equally likely and "
            "names one; the ONNX model names the other"
        )

    content = onnx_model.SerializeToString(deterministic=True)
    with open(request["output"], "wb") as file:
        file.write(content)
    return {
        "estimator": name,
        **describe(content),
        **result,
        "rowsFrom": "samples" if samples else "generated",
        "examples": examples,
        "notes": notes,
        "sklearn": {"saved": saved, "used": sklearn.__version__},
    }


# ---------------------------------------------------------------------------------------------------------------------
# Loading


def load(path):
    """The object in the file, and the version of scikit-learn that saved it."""
    import joblib
    import sklearn
    from sklearn.exceptions import InconsistentVersionWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        versions = lambda: [w.message for w in caught if isinstance(w.message, InconsistentVersionWarning)]
        try:
            try:
                estimator = joblib.load(path)
            except (ImportError, AttributeError):
                raise
            except Exception:  # joblib.load takes most pickles, but not all
                with open(path, "rb") as file:
                    estimator = pickle.load(file)
        except Exception as error:
            saved = [f" (saved by scikit-learn {w.original_sklearn_version})" for w in versions()[:1]]
            raise refusal.unsupported(load_failure(error) + "".join(saved)) from error
        saved = [w.original_sklearn_version for w in versions()]
    return estimator, saved[0] if saved else sklearn.__version__


def load_failure(error):
    if isinstance(error, ModuleNotFoundError):
        return f"it needs the Python module {error.name}, which the conversion environment does not have"
    if isinstance(error, (ImportError, AttributeError)):
        # A class of the script that saved it, or of another version of a library.
        return f"it needs code that is not there: {one_line(error)}"
    return f"it is not a pickle that joblib or pickle can load ({type(error).__name__}: {one_line(error)})"


def check_estimator(estimator, name, saved):
    from sklearn.base import BaseEstimator, is_classifier
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    if not isinstance(estimator, BaseEstimator):
        raise refusal.unsupported(f"it holds a {name}, which is not a scikit-learn estimator")
    try:
        check_is_fitted(estimator)
    except NotFittedError as error:
        raise refusal.unsupported(f"the {name} in it has not been fitted") from error
    except Exception as error:
        detail = f"the {name} in it is broken (saved by scikit-learn {saved}): {one_line(error)}"
        raise refusal.unsupported(detail) from error
    if not hasattr(estimator, "predict"):
        raise refusal.unsupported(f"the {name} in it does not predict anything; only models are served")
    if is_classifier(estimator) and isinstance(getattr(estimator, "classes_", None), list):
        raise refusal.unsupported(f"the {name} in it predicts several labels at once, which have no common ONNX output")


# ---------------------------------------------------------------------------------------------------------------------
# Converting


def to_onnx(estimator, name, signature):
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType
    from skl2onnx.common.exceptions import MissingConverter, MissingShapeCalculator

    # It concerns `transform` alone, and skl2onnx refuses the default.
    final = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
    if hasattr(final, "flatten_transform"):
        final.flatten_transform = False

    tensor_types = {"float32": FloatTensorType, "int64": Int64TensorType, "string": StringTensorType}
    types = [(entry.name, tensor_types[entry.kind]([None, len(entry.columns)])) for entry in signature.inputs]
    arguments = {"initial_types": types, "target_opset": {"": 18, "ai.onnx.ml": 3}, "name": type(estimator).__name__}
    try:
        try:
            return convert_sklearn(estimator, options={"zipmap": False}, **arguments)
        except NameError:  # it knows no such option, because it makes no map either
            return convert_sklearn(estimator, **arguments)
    except (MissingConverter, MissingShapeCalculator) as error:
        missing = re.search(r"<class '([^']+)'>", str(error))
        raise refusal.unsupported(f"skl2onnx has no converter for {missing.group(1) if missing else name}") from error
    except Exception as error:
        raise refusal.unsupported(f"skl2onnx fails on {name}: {type(error).__name__}: {one_line(error)}") from error


def sklearn_answers(estimator, signature, rows, generated):
    try:
        try:
            return predict(estimator, signature.for_sklearn(rows))
        except ValueError:
            # Some estimators that were fitted on float64 do not take float32. The values stay those of float32.
            wide = rows.astype({column: "float64" for column in rows.columns if rows[column].dtype == "float32"})
            return predict(estimator, signature.for_sklearn(wide))
    except ValueError as error:
        hint = "; pass --samples data.csv with rows that it takes" if generated else ""
        detail = f"scikit-learn itself fails on the rows to compare{hint}: {one_line(error)}"
        raise refusal.unsupported(detail) from error


def predict(estimator, X):
    from sklearn.base import is_classifier

    predicted = estimator.predict(X)
    if is_classifier(estimator):
        if predicted.ndim != 1:
            raise refusal.unsupported("it predicts several labels at once, which have no common ONNX output")
        probabilities = {"probabilities": estimator.predict_proba(X)} if hasattr(estimator, "predict_proba") else {}
        return {"labels": predicted, **probabilities}
    # Clusters and outliers have labels too. How far off a row is has no one meaning that ONNX and scikit-learn share.
    return {"labels" if predicted.dtype.kind in "iu" else "values": predicted}


def onnx_answers(onnx_model, feeds, expected, notes):
    """Runs the model, once it has no more outputs than `expected` can vouch for."""
    outputs = onnx_model.graph.output
    if len(outputs) < len(expected):
        raise refusal.unsupported(f"skl2onnx has left an output out: found {[output.name for output in outputs]}")
    for output in list(outputs)[len(expected) :]:
        notes.append(f"the output {output.name} is left out: nothing of scikit-learn's vouches for it")
        outputs.remove(output)
    for output in outputs:
        if not output.type.HasField("tensor_type"):
            raise refusal.unsupported(f"the output {output.name} is a map or a sequence, not a tensor")
    try:
        session = open_session(onnx_model.SerializeToString())
        found = session.run([output.name for output in outputs], feeds)
    except Exception as error:
        raise refusal.unsupported(f"ONNX Runtime fails on the converted model: {one_line(error)}") from error
    return dict(zip(expected, found, strict=True))


def open_session(content):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


DATATYPES = {"tensor(float)": "FP32", "tensor(double)": "FP64", "tensor(int64)": "INT64", "tensor(string)": "BYTES"}


def describe(content):
    session = open_session(content)
    tensors = lambda values: [
        {
            "name": value.name,
            "type": DATATYPES.get(value.type, value.type),
            "shape": [size if isinstance(size, int) else -1 for size in value.shape],
        }
        for value in values
    ]
    return {"inputs": tensors(session.get_inputs()), "outputs": tensors(session.get_outputs())}


# ---------------------------------------------------------------------------------------------------------------------
# Telling


def unknown_ranges(unknown, signature):
    which = "its columns" if len(unknown) == len(signature.columns) else ", ".join(map(str, unknown[:20]))
    return (
        f"nothing in the model tells the range of {which}: the answers were compared on standard normal values; "
        "--samples data.csv compares them on yours"
    )


def disagreement(result, examples):
    share = 100 * result["rowsDiffering"] / result["rowsCompared"]
    text = f"{result['rowsDiffering']} of {result['rowsCompared']} rows differ ({share:.3g} %)"
    if result["labelMismatches"]:
        text += f", {result['labelMismatches']} of them in the label"
    if result["maxAbsDiff"]:
        text += f", numbers by up to {result['maxAbsDiff']:.3g}"
    return text + "".join(f"; row {one['row']}: {one['sklearn']}, ONNX {one['onnx']}" for one in examples[:2])


def example(index, expected, found):
    pick = lambda answers: {name: round_floats(answers[name][index]) for name in expected}
    return {"row": index, "sklearn": pick(expected), "onnx": pick(found)}


def round_floats(value):
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, list):
        return [round_floats(one) for one in value]
    return float(f"{value:.8g}") if isinstance(value, float) else value


def one_line(error):
    return " ".join(str(error).split())[:400]


def progress(text):
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    answer_file = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the unpickled code prints must not look like our answer
    warnings.simplefilter("ignore")
    try:
        answer = {"report": main(json.loads(sys.argv[1]))}
    except refusal.Refusal as refused:
        answer = {"error": refused.code, "detail": refused.detail}
    print(json.dumps(answer), file=answer_file, flush=True)
