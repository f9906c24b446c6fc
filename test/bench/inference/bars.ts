import type { Bar } from '../bars.ts';
import type { ModelName } from '../iris.ts';
import type { ServerName } from '../servers.ts';
import { median, type Spread, spread } from '../statistics.ts';
import type { ColdStart } from './cold-start.ts';
import type { SlowModel } from './slow-model.ts';
import { ratio, type Sample } from './throughput.ts';

export interface InferenceResults {
  throughput: Sample[];
  slowModel?: SlowModel;
  coldStarts: ColdStart[];
}

type InferenceBar = Bar<InferenceResults>;
type Figure = InferenceBar['figure'];

const both = (make: (model: ModelName) => InferenceBar): InferenceBar[] => [make('lr'), make('rf')];

function rates(connections: number, ours: ServerName, theirs: ServerName, model: ModelName): Figure {
  return against('rate', connections, ours, theirs, model);
}

function against(
  of: 'rate' | 'p50Ms',
  connections: number,
  ours: ServerName,
  theirs: ServerName,
  model: ModelName,
): Figure {
  const theirModel = theirs.startsWith('echo') ? null : model;
  return ({ throughput }) =>
    ratio(throughput, of, { server: ours, model, connections }, { server: theirs, model: theirModel, connections });
}

function startTimes(starts: readonly ColdStart[], server: ServerName, model: ModelName): number[] {
  return starts.filter((start) => start.server === server && start.model === model).map(({ ms }) => ms);
}

function startTime(model: ModelName): Figure {
  return ({ coldStarts }) => {
    const times = startTimes(coldStarts, 'levada', model);
    return times.length > 0 ? spread(times) : undefined;
  };
}

/** Median over median: a start of ours and one of theirs are no pair. */
function startRatio(model: ModelName): Figure {
  return ({ coldStarts }) => {
    const theirs = startTimes(coldStarts, 'fastapi-sklearn', model);
    const ours = startTimes(coldStarts, 'levada', model);
    if (ours.length === 0 || theirs.length === 0) return undefined;
    const { median: middle, min, max } = spread(ours);
    const other = median(theirs);
    return { median: middle / other, min: min / other, max: max / other };
  };
}

const exactly = (value: number): Spread => ({ median: value, min: value, max: value });

const higher = { unit: '×', better: 'higher' } as const;
const lower = { unit: '×', better: 'lower' } as const;

/** Design §5. A line without `fatal` is a goal: it is printed, and fails nothing. */
export const inferenceBars: readonly InferenceBar[] = [
  ...both((model) => ({
    name: `c=64 ${model}: /predict ÷ echo, req/s`,
    ...higher,
    goal: 0.85,
    fatal: 0.75,
    figure: rates(64, 'levada', 'echo', model),
  })),
  ...both((model) => ({
    name: `c=64 ${model}: /v2 infer ÷ echo of its body, req/s`,
    ...higher,
    goal: 0.85,
    fatal: 0.75,
    figure: rates(64, 'levada-oip', 'echo-oip', model),
  })),
  ...both((model) => ({
    name: `c=64 ${model}: stretch: /predict ÷ echo with deferred writes, req/s`,
    ...higher,
    goal: 0.85,
    figure: rates(64, 'levada', 'echo-deferred', model),
  })),
  {
    name: 'c=64 lr: /predict ÷ FastAPI + scikit-learn, req/s',
    ...higher,
    goal: 10,
    fatal: 10,
    figure: rates(64, 'levada', 'fastapi-sklearn', 'lr'),
  },
  {
    name: 'c=64 rf: /predict ÷ FastAPI + scikit-learn, req/s',
    ...higher,
    goal: 100,
    fatal: 100,
    figure: rates(64, 'levada', 'fastapi-sklearn', 'rf'),
  },
  ...both((model) => ({
    name: `c=64 ${model}: /predict ÷ FastAPI + ONNX Runtime, req/s`,
    ...higher,
    goal: 6,
    fatal: 6,
    figure: rates(64, 'levada', 'fastapi-onnxruntime', model),
  })),
  ...both((model) => ({
    name: `c=1 ${model}: /predict ÷ echo, req/s`,
    ...higher,
    goal: 0.6,
    fatal: 0.6,
    figure: rates(1, 'levada', 'echo', model),
  })),
  ...both((model) => ({
    name: `c=1 ${model}: /predict ÷ FastAPI + ONNX Runtime, req/s`,
    ...higher,
    goal: 1.6,
    fatal: 1.6,
    figure: rates(1, 'levada', 'fastapi-onnxruntime', model),
  })),
  ...both((model) => ({
    name: `c=1 ${model}: p50 ÷ p50 of unbatched Fastify`,
    ...lower,
    goal: 1.1,
    fatal: 1.1,
    figure: against('p50Ms', 1, 'levada', 'fastify-naive', model),
  })),
  {
    name: 'slow model: p99 of GET /health',
    unit: 'ms',
    better: 'lower',
    goal: 10,
    fatal: 10,
    figure: ({ slowModel }) => slowModel && exactly(slowModel.health.p99Ms),
  },
  ...both((model) => ({
    name: `cold start ${model}: exec to first right answer`,
    unit: 'ms',
    better: 'lower',
    goal: 1000,
    fatal: 1000,
    figure: startTime(model),
  })),
  ...both((model) => ({
    name: `cold start ${model}: ÷ FastAPI + scikit-learn`,
    ...lower,
    goal: 0.5,
    fatal: 0.5,
    figure: startRatio(model),
  })),
  {
    name: 'cold start: early answers other than 503',
    unit: '',
    better: 'lower',
    goal: 0,
    fatal: 0,
    figure: ({ coldStarts }) => {
      const ours = coldStarts.filter(({ server }) => server === 'levada');
      const wrong = ours.reduce((sum, { wrongEarly }) => sum + wrongEarly.length, 0);
      return ours.length > 0 ? exactly(wrong) : undefined;
    },
  },
];
