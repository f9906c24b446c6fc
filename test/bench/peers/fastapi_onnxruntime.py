"""FastAPI in front of ONNX Runtime. MODEL (an ONNX file), PORT (0: any free one)."""

from contextlib import asynccontextmanager

import numpy
import onnxruntime
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel
from serving import CLASS_NAMES, MODEL, serve

session = None
input_name = ""
label_name = ""


@asynccontextmanager
async def lifespan(_: FastAPI):
    global session, input_name, label_name
    options = onnxruntime.SessionOptions()
    # One thread, like every other peer: the whole server has one core.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(MODEL, options, providers=["CPUExecutionProvider"])
    input_name = session.get_inputs()[0].name
    label_name = session.get_outputs()[0].name
    yield


class PredictRequest(BaseModel):
    features: list[float]


class PredictResponse(BaseModel):
    prediction: int
    class_name: str


app = FastAPI(lifespan=lifespan)


@app.get("/health")
async def health():
    return {"status": "ok" if session else "loading", "model_loaded": session is not None}


@app.post("/predict", response_model=PredictResponse)
async def predict(request: PredictRequest):
    if session is None:
        raise HTTPException(status_code=503, detail="Model not loaded yet.")
    rows = numpy.array([request.features], dtype=numpy.float32)
    prediction = int(session.run([label_name], {input_name: rows})[0][0])
    return PredictResponse(prediction=prediction, class_name=CLASS_NAMES[prediction])


if __name__ == "__main__":
    serve(app)
