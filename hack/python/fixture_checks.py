"""What each model of make_fixtures.py must do under ONNX Runtime: answer, fail when run, or be refused."""

import threading
import time

import numpy as np
import onnxruntime as ort

# The datatypes of the Open Inference Protocol.
DATATYPES = {
    "BOOL": np.bool_,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
    "BYTES": np.object_,
}


def session(content):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def expect(content, feeds, **outputs):
    """The model gives `outputs`, NaN for NaN."""
    feeds = {name: np.asarray(given, np.float32) for name, given in feeds.items()}
    for name, found in zip(outputs, session(content).run(list(outputs), feeds), strict=True):
        np.testing.assert_allclose(found, np.asarray(outputs[name], np.float32), rtol=1e-4, err_msg=name)


def expect_failure(call, *texts):
    try:
        call()
    except Exception as error:  # ONNX Runtime's exceptions have no common base
        said = str(error).splitlines()[0]
        if not any(text in said for text in texts):
            raise SystemExit(f"failed with {said!r}, expected one of {texts}") from error
        return said[:110]
    raise SystemExit("did not fail")


def check_identity(content):
    rows = {name: np.array([[0, 1], [1, 0], [1, 1]]).astype(type_) for name, type_ in DATATYPES.items()}
    rows["BYTES"] = np.array([["", "a"], ["längere 文字", "b"], ["c", "d"]], np.object_)
    rows["UINT64"][0, 0], rows["INT64"][0, 0] = 2**64 - 1, -(2**63)
    for name, found in zip(rows, session(content).run([f"{name}_out" for name in rows], rows), strict=True):
        assert found.dtype == rows[name].dtype and (found == rows[name]).all(), name


def check_slow(content):
    loaded = session(content)
    x = np.array([[1, 2, 3, 6]], np.float32)
    times = []
    for _ in range(20):
        start = time.perf_counter()
        (found,) = loaded.run(None, {"X": x})
        times.append((time.perf_counter() - start) * 1000)
    np.testing.assert_allclose(found, [[3]], rtol=1e-3)
    return f"{sorted(times)[len(times) // 2]:.1f} ms a run"


def check_endless(content):
    options = ort.RunOptions()
    timer = threading.Timer(2, lambda: setattr(options, "terminate", True))
    timer.start()
    start = time.perf_counter()
    x = np.ones([1, 2], np.float32)
    said = expect_failure(lambda: session(content).run(None, {"X": x}, options), "terminate")
    assert time.perf_counter() - start > 1.9
    return said


def runs_fail(content, rows, *texts):
    loaded = session(content)
    return expect_failure(lambda: loaded.run(None, {"X": np.asarray(rows, np.float32)}), *texts)


def refused(*texts):
    return lambda content: expect_failure(lambda: session(content), *texts)


def check_on_demand(content):
    expect(content, {"X": [[1, 2]]}, Y=[[12, 24]])
    return runs_fail(content, [[500_000, 0]], "allocate", "bad_alloc", "bad allocation")


def check_slow_on_demand(content):
    expect(content, {"X": [[1, 2], [-3, 4]]}, Y=[[1, 2], [-3, 4]])
    start = time.perf_counter()
    expect(content, {"X": [[30_000, 1]]}, Y=[[30_000, 1]])
    took = time.perf_counter() - start
    assert took > 0.5, took
    return f"{took:.1f} s for 30000"


def check_negative(content):
    expect(content, {"X": [[1, 2], [0, 4]]}, Y=[[1, 2], [0, 4]])
    return runs_fail(content, [[1, 2], [3, -4]], "out of data bounds")


def check_zipmap(content):
    label, scores = session(content).run(None, {"X": np.array([[2, 0]], np.float32)})
    assert label.tolist() == [0] and list(scores[0]) == [0, 1]
    return session(content).get_outputs()[1].type


LINEAR = [[1, 2, 3], [-1, 0, 1], [0, 0, 0], [4, 4, 4]]
LINEAR_ANSWERS = [[-3.75, 11.5], [-3.75, 4.5], [0.25, -0.5], [0.25, 13.5]]
checks = {
    "identity-all": check_identity,
    "fixed-batch-1": lambda c: expect(c, {"X": LINEAR[:1]}, Y=LINEAR_ANSWERS[:1]),
    "fixed-batch-4": lambda c: expect(c, {"X": LINEAR}, Y=LINEAR_ANSWERS),
    "two-inputs": lambda c: expect(c, {"a": [[1, 2]], "b": [[3, -4]]}, sum=[[4, -2]], product=[[3, -8]]),
    "free-dims": lambda c: expect(c, {"X": [[0, 0, 0, 0], [1, 1, 1, 1]]}, sum=[0, 4], share=[[0.25] * 4] * 2),
    "not-batchable": lambda c: expect(c, {"X": [[1, 2], [3, 6]]}, Y=[[-1, -2], [1, 2]]),
    "nan-output": lambda c: expect(c, {"X": [[-1, 0], [1, np.e]]}, Y=[[np.nan, -np.inf], [0, 1]]),
    "regression": lambda c: expect(c, {"X": [[1, 2, 4]]}, variable=[[12]]),
    "logits": lambda c: expect(c, {"X": [[1, 2]]}, logits=[[2, -4, 5]]),
    "slow": check_slow,
    "endless": check_endless,
    "slow-on-demand": check_slow_on_demand,
    "huge-alloc": lambda c: runs_fail(c, [[1, 2]], "allocate", "bad_alloc", "bad allocation"),
    "huge-alloc-on-demand": check_on_demand,
    "fails-when-negative": check_negative,
    "wider": lambda c: expect(c, {"X": [[1, 2]]}, Y=[[1, 2, 1, 2]]),
    "doubled-rows": lambda c: expect(c, {"X": [[1, 2]]}, Y=[[1, 2], [1, 2]]),
    "bad-shape": lambda c: runs_fail(c, [[1, 2, 3]], "Reshape"),
    "truncated": refused("INVALID_PROTOBUF", "INVALID_GRAPH", "Protobuf parsing failed"),
    "garbage": refused("INVALID_PROTOBUF", "Protobuf parsing failed"),
    "external-data": refused("external", "passwd", "escape"),
    "zipmap": check_zipmap,
    "custom-op": refused("Mangle", "example.levada.dev"),
}
