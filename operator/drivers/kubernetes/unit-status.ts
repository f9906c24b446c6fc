import { isDeepStrictEqual } from 'node:util';
import * as z from 'zod';
import type { PipelineUnitStatus } from '../../../api/contract/pipeline-unit.ts';
import { began, stepTrials } from '../routing/report.ts';
import { type Answers, failureIn } from './asked.ts';

const count = z.int().min(0);
const text = z.string().transform((value) => value.slice(0, 2_048));
const failure = z.unknown().transform(failureIn);

const consumer = z.object({
  running: z.boolean(),
  breaker: z.enum(['Closed', 'Open', 'HalfOpen']),
  message: text.optional(),
  held: z.record(z.string(), count),
  delayed: count,
  trials: stepTrials.optional(),
});

/** What a pod says, in these shapes only: it is not trusted. Counts are for metrics, which are not read here. */
const status = z.object({
  state: z.enum(['Loading', 'Loaded', 'Failed']),
  failure: failure.optional(),
  draining: z.boolean(),
  missing: count.optional(),
  countedMs: count.optional(),
  consumers: z.record(z.string(), consumer),
  sources: z.record(z.string(), z.object({ ready: z.boolean(), failure: failure.optional() })),
});

export type UnitStatus = Omit<z.output<typeof status>, 'countedMs'> & {
  /** When its process began at the latest, milliseconds since the epoch, of this clock. */
  readonly beganAt?: number;
};

/** What is read of it is what the runtime says. */
status satisfies z.ZodType<unknown, Pick<PipelineUnitStatus, 'state' | 'draining'>>;

export const unitAnswers: Answers<UnitStatus> = {
  read: (value, askedAt) => {
    const { countedMs, ...said } = status.parse(value);
    return { ...said, ...began(askedAt, countedMs) };
  },
  // What is in hand changes all the time, and is asked for when it is needed.
  isSame: (a, b) => isDeepStrictEqual(shown(a), shown(b)),
  likely: ({ state, consumers, sources }) => {
    const isMoving =
      state === 'Loading' ||
      Object.values(consumers).some(({ running, breaker }) => !running || breaker !== 'Closed') ||
      Object.values(sources).some(({ ready }) => !ready);
    return isMoving ? 'soon' : 'maybe'; // a breaker opens without a word
  },
};

function shown({ consumers, beganAt: _, ...rest }: UnitStatus) {
  const quiet = Object.entries(consumers).map(
    ([name, { held: __, delayed: ___, trials: ____, ...said }]) => [name, said] as const,
  );
  return { ...rest, consumers: Object.fromEntries(quiet) };
}
