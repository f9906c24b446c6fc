"""The seed's model_serving_app.py: FastAPI in front of a scikit-learn model. MODEL (a joblib file), PORT (0: any free one).

Differs from the seed in what makes it quicker, never slower: no log line a request.
"""

from contextlib import asynccontextmanager

import joblib
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel
from serving import CLASS_NAMES, MODEL, serve

model = None


@asynccontextmanager
async def lifespan(_: FastAPI):
    global model
    model = joblib.load(MODEL)
    yield


class PredictRequest(BaseModel):
    features: list[float]


class PredictResponse(BaseModel):
    prediction: int
    class_name: str


app = FastAPI(lifespan=lifespan)


@app.get("/health")
async def health():
    if model is not None:
        return {"status": "ok", "model_loaded": True}
    return {"status": "loading", "model_loaded": False}


@app.post("/predict", response_model=PredictResponse)
async def predict(request: PredictRequest):
    if model is None:
        raise HTTPException(status_code=503, detail="Model not loaded yet.")
    try:
        prediction = model.predict([request.features])[0]
        return PredictResponse(prediction=int(prediction), class_name=CLASS_NAMES[prediction])
    except Exception as error:
        raise HTTPException(status_code=500, detail=f"Prediction error: {error}")


if __name__ == "__main__":
    serve(app)
