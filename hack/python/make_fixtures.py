"""Makes the small ONNX models that tests need and checks that each does what its description says.

    python make_fixtures.py DIR     (node hack/make-fixtures.ts runs it for test/fixtures/models)

Every model is DIR/<name>/model.onnx, and its description is in the file (doc_string). The same packages give the same
bytes.
"""

import random
import sys
from pathlib import Path

import numpy as np
from fixture_checks import DATATYPES, checks
from onnx import TensorProto, helper, numpy_helper

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
OPSETS = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
LARGEST = 10_000

fixtures = {}


def fixture(function):
    """The function returns the file's bytes; its docstring describes the model."""
    fixtures[function.__name__.replace("_", "-")] = function
    return function


# ---------------------------------------------------------------------------------------------------------------------
# Helpers


def value(name, type_, shape):
    return helper.make_tensor_value_info(name, type_, shape)


def constant(name, array):
    return numpy_helper.from_array(np.asarray(array), name)


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs.split(), outputs.split(), **attributes)


def model(nodes, inputs, outputs, constants=(), opsets=OPSETS):
    """Named and described by the fixture that calls."""
    name = sys._getframe(1).f_code.co_name.replace("_", "-")
    graph = helper.make_graph(nodes, name, inputs, outputs, initializer=list(constants))
    made = helper.make_model(graph, opset_imports=opsets, ir_version=9, producer_name="levada-fixtures")
    made.doc_string = " ".join(fixtures[name].__doc__.split())
    return made.SerializeToString(deterministic=True)


def linear(inputs_shape, outputs_shape):
    weights = constant("weights", np.array([[1, -1], [2, 0.5], [-3, 4]], np.float32))
    bias = constant("bias", np.array([0.25, -0.5], np.float32))
    inputs, outputs = [value("X", FLOAT, inputs_shape)], [value("Y", FLOAT, outputs_shape)]
    return [node("Gemm", "X weights bias", "Y")], inputs, outputs, [weights, bias]


# ---------------------------------------------------------------------------------------------------------------------
# Models that work

@fixture
def identity_all():
    """Gives each input back: one [N, 2] tensor of every datatype of the Open Inference Protocol, NAME to NAME_out."""
    types = {name: helper.np_dtype_to_tensor_dtype(np.dtype(type_)) for name, type_ in DATATYPES.items()}
    return model(
        [node("Identity", name, f"{name}_out") for name in types],
        [value(name, type_, ["N", 2]) for name, type_ in types.items()],
        [value(f"{name}_out", type_, ["N", 2]) for name, type_ in types.items()],
    )


@fixture
def fixed_batch_1():
    """X [1, 3] to Y [1, 2] = X [[1, -1], [2, 0.5], [-3, 4]] + [0.25, -0.5]."""
    return model(*linear([1, 3], [1, 2]))


@fixture
def fixed_batch_4():
    """X [4, 3] to Y [4, 2] = X [[1, -1], [2, 0.5], [-3, 4]] + [0.25, -0.5]."""
    return model(*linear([4, 3], [4, 2]))


@fixture
def two_inputs():
    """a and b [N, 2] to their sum and product [N, 2]."""
    return model(
        [node("Add", "a b", "sum"), node("Mul", "a b", "product")],
        [value("a", FLOAT, ["N", 2]), value("b", FLOAT, ["N", 2])],
        [value("sum", FLOAT, ["N", 2]), value("product", FLOAT, ["N", 2])],
    )


@fixture
def free_dims():
    """X [batch, seq] to each row's sum [batch] and to share [batch, seq], the softmax over seq."""
    return model(
        [node("ReduceSum", "X axes", "sum", keepdims=0), node("Softmax", "X", "share", axis=1)],
        [value("X", FLOAT, ["batch", "seq"])],
        [value("sum", FLOAT, ["batch"]), value("share", FLOAT, ["batch", "seq"])],
        [constant("axes", np.array([1], np.int64))],
    )


@fixture
def not_batchable():
    """X [N, 2] to X minus the mean over the rows: a free first dimension, and rows that depend on each other."""
    return model(
        [node("ReduceMean", "X axes", "mean", keepdims=1), node("Sub", "X mean", "Y")],
        [value("X", FLOAT, ["N", 2])],
        [value("Y", FLOAT, ["N", 2])],
        [constant("axes", np.array([0], np.int64))],
    )


@fixture
def nan_output():
    """X [N, 2] to its logarithm: NaN for negative numbers, -Infinity for 0."""
    return model([node("Log", "X", "Y")], [value("X", FLOAT, ["N", 2])], [value("Y", FLOAT, ["N", 2])])


@fixture
def regression():
    """X [N, 3] to variable [N, 1] = 2 a - b + 0.5 c + 10."""
    return model(
        [node("MatMul", "X weights", "product"), node("Add", "product bias", "variable")],
        [value("X", FLOAT, ["N", 3])],
        [value("variable", FLOAT, ["N", 1])],
        [constant("weights", np.array([[2], [-1], [0.5]], np.float32)), constant("bias", np.float32([10]))],
    )


@fixture
def logits():
    """X [N, 2] to logits [N, 3] = a [1, 0, -1] + b [0.5, -2, 3]: one score a class, no label."""
    return model(
        [node("MatMul", "X weights", "logits")],
        [value("X", FLOAT, ["N", 2])],
        [value("logits", FLOAT, ["N", 3])],
        [constant("weights", np.array([[1, 0, -1], [0.5, -2, 3]], np.float32))],
    )


SLOW_SIZE, SLOW_STEPS = 1024, 400


def product_body(rows):
    """Of a loop: a product of its state with the matrix."""
    return helper.make_graph(
        [node("Identity", "going", "go_on"), node("MatMul", "state matrix", "next")],
        "product",
        [value("step", INT64, []), value("going", TensorProto.BOOL, []), value("state", FLOAT, [rows, SLOW_SIZE])],
        [value("go_on", TensorProto.BOOL, []), value("next", FLOAT, [rows, SLOW_SIZE])],
    )


@fixture
def slow():
    """X [N, 4] to Y [N, 1], each row's mean, in some 20 ms on one core: 400 products with a 1024 x 1024 matrix."""
    # The matrix comes from ConstantOfShape, which keeps the file small. ONNX Runtime may fold that into a constant when
    # it loads; the products depend on X and stay. Every entry is 1/1024, so each product leaves the mean as it is.
    filled = lambda name, number: helper.make_tensor(name, FLOAT, [1], [number])
    return model(
        [
            node("ConstantOfShape", "square", "matrix", value=filled("value", 1 / SLOW_SIZE)),
            node("ConstantOfShape", "wide", "spread", value=filled("value", 1 / 4)),
            node("ConstantOfShape", "narrow", "gather", value=filled("value", 1 / SLOW_SIZE)),
            node("MatMul", "X spread", "first"),
            node("Loop", "steps yes first", "last", body=product_body("N")),
            node("MatMul", "last gather", "Y"),
        ],
        [value("X", FLOAT, ["N", 4])],
        [value("Y", FLOAT, ["N", 1])],
        [
            constant("square", np.array([SLOW_SIZE, SLOW_SIZE], np.int64)),
            constant("wide", np.array([4, SLOW_SIZE], np.int64)),
            constant("narrow", np.array([SLOW_SIZE, 1], np.int64)),
            constant("steps", np.array(SLOW_STEPS, np.int64)),
            constant("yes", np.array(True)),
        ],
    )


# ---------------------------------------------------------------------------------------------------------------------
# Models that load and then do harm


@fixture
def endless():
    """X [N, 2] to Y [N, 2] in a loop of 2^62 rounds: a run does not end in a lifetime."""
    body = helper.make_graph(
        [node("Identity", "going", "go_on"), node("Cos", "state", "next")],
        "round",
        [value("round", INT64, []), value("going", TensorProto.BOOL, []), value("state", FLOAT, ["N", 2])],
        [value("go_on", TensorProto.BOOL, []), value("next", FLOAT, ["N", 2])],
    )
    return model(
        [node("Loop", "rounds yes X", "Y", body=body)],
        [value("X", FLOAT, ["N", 2])],
        [value("Y", FLOAT, ["N", 2])],
        [constant("rounds", np.array(2**62, np.int64)), constant("yes", np.array(True))],
    )


@fixture
def slow_on_demand():
    """X [N, 2] to Y = X [N, 2], after as many products as in `slow` as the largest number in X says, at least one."""
    return model(
        [
            node("ReduceMax", "X", "largest", keepdims=0),
            node("Max", "largest one", "clipped"),
            node("Cast", "clipped", "rounds", to=INT64),
            node("Expand", "entry square", "matrix"),
            node("Expand", "one wide", "first"),
            node("Loop", "rounds yes first", "last", body=product_body(1)),
            node("ReduceMean", "last", "mean", keepdims=0),
            node("Mul", "X mean", "Y"),
        ],
        [value("X", FLOAT, ["N", 2])],
        [value("Y", FLOAT, ["N", 2])],
        [
            constant("one", np.float32(1)),
            constant("entry", np.float32(1 / SLOW_SIZE)),  # as in `slow`
            constant("square", np.array([SLOW_SIZE, SLOW_SIZE], np.int64)),
            constant("wide", np.array([1, SLOW_SIZE], np.int64)),
            constant("yes", np.array(True)),
        ],
    )


def square_sum(side):
    """Nodes that fill a square with the sum of X and sum it up again; `side` names its shape."""
    return [
        node("ReduceSum", "X", "total", keepdims=0),
        node("Expand", f"total {side}", "square"),
        node("ReduceSum", "square", "all", keepdims=0),
        node("Mul", "X all", "Y"),
    ]


@fixture
def huge_alloc():
    """X [N, 2] to Y [N, 2] by way of a tensor of 1 TB: every run fails for want of memory."""
    return model(
        square_sum("shape"),
        [value("X", FLOAT, ["N", 2])],
        [value("Y", FLOAT, ["N", 2])],
        [constant("shape", np.array([500_000, 500_000], np.int64))],
    )


@fixture
def huge_alloc_on_demand():
    """X [N, 2] to Y [N, 2] by way of a square tensor whose side is the largest number in X (at least 1); 500000 asks
    for 1 TB."""
    return model(
        [
            node("ReduceMax", "X", "largest", keepdims=0),
            node("Max", "largest one", "clipped"),
            node("Cast", "clipped", "side", to=INT64),
            node("Expand", "side two", "shape"),
            *square_sum("shape"),
        ],
        [value("X", FLOAT, ["N", 2])],
        [value("Y", FLOAT, ["N", 2])],
        [constant("one", np.float32(1)), constant("two", np.array([2], np.int64))],
    )


@fixture
def fails_when_negative():
    """X [N, 2] to Y = X [N, 2]; one negative number anywhere makes the whole run fail."""
    return model(
        [
            node("Less", "X zero", "negative"),
            node("Where", "negative outside first", "index"),
            node("Gather", "table index", "nothing"),
            node("Add", "X nothing", "Y"),
        ],
        [value("X", FLOAT, ["N", 2])],
        [value("Y", FLOAT, ["N", 2])],
        [
            constant("zero", np.float32(0)),
            constant("outside", np.array(7, np.int64)),
            constant("first", np.array(0, np.int64)),
            constant("table", np.zeros(1, np.float32)),
        ],
    )


@fixture
def wider():
    """X [N, 2] to Y [N, 4], X twice side by side: another signature than its neighbours, which give Y [N, 2]."""
    return model([node("Concat", "X X", "Y", axis=1)], [value("X", FLOAT, ["N", 2])], [value("Y", FLOAT, ["N", 4])])


@fixture
def doubled_rows():
    """X [N, 2] to Y [M, 2], X twice one below the other: what it gives is of another shape than what was asked for."""
    return model([node("Concat", "X X", "Y", axis=0)], [value("X", FLOAT, ["N", 2])], [value("Y", FLOAT, ["M", 2])])


@fixture
def bad_shape():
    """X [N, 3] is reshaped to [1, 1]: loads, and every run fails."""
    return model(
        [node("Reshape", "X shape", "Y")],
        [value("X", FLOAT, ["N", 3])],
        [value("Y", FLOAT, [1, 1])],
        [constant("shape", np.array([1, 1], np.int64))],
    )


# ---------------------------------------------------------------------------------------------------------------------
# Files that must be refused


@fixture
def truncated():
    """The regression fixture, cut off."""
    whole = regression()
    return whole[: len(whole) // 2]


@fixture
def garbage():
    """Random bytes."""
    return b"\x07" + random.Random(1).randbytes(2047)


@fixture
def external_data():
    """X [N, 4] times weights that are said to be in ../../../etc/passwd."""
    weights = TensorProto(name="weights", data_type=FLOAT, dims=[4, 1], data_location=TensorProto.EXTERNAL)
    for key, entry in {"location": "../../../etc/passwd", "offset": "0", "length": "16"}.items():
        weights.external_data.add(key=key, value=entry)
    return model(
        [node("MatMul", "X weights", "Y")], [value("X", FLOAT, ["N", 4])], [value("Y", FLOAT, ["N", 1])], [weights]
    )


@fixture
def zipmap():
    """A classifier of X [N, 2] exported with ZipMap: its second output is a sequence of maps."""
    ml = {"domain": "ai.onnx.ml"}
    probabilities = helper.make_value_info(
        "output_probability",
        helper.make_sequence_type_proto(helper.make_map_type_proto(INT64, helper.make_tensor_type_proto(FLOAT, []))),
    )
    return model(
        [
            node(
                "LinearClassifier",
                "X",
                "label scores",
                coefficients=[1.0, 0.0, -1.0, 0.0],
                intercepts=[0.0, 0.5],
                classlabels_ints=[0, 1],
                post_transform="SOFTMAX",
                **ml,
            ),
            node("ZipMap", "scores", "output_probability", classlabels_int64s=[0, 1], **ml),
        ],
        [value("X", FLOAT, ["N", 2])],
        [value("label", INT64, ["N"]), probabilities],
    )


@fixture
def custom_op():
    """Uses the operator Mangle of the domain example.levada.dev, which nobody has."""
    domain = "example.levada.dev"
    return model(
        [node("Mangle", "X", "Y", domain=domain)],
        [value("X", FLOAT, ["N", 2])],
        [value("Y", FLOAT, ["N", 2])],
        opsets=[*OPSETS, helper.make_opsetid(domain, 1)],
    )


def main(folder):
    for name, make in fixtures.items():
        content = make()
        if content != make():
            raise SystemExit(f"{name}: made twice, the bytes differ")
        if len(content) >= LARGEST:
            raise SystemExit(f"{name}: {len(content)} bytes are too many")
        note = checks[name](content)
        path = folder / name / "model.onnx"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        print(f"{name:22} {len(content):5} bytes  {note or 'ok'}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
