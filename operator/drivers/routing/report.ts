import * as z from 'zod';
import type { RoutingReport, StepTrials } from '../../../api/contract/routing-table.ts';

const count = z.int().min(0);
const version = z.string().max(64);
const outcome = z.object({ n: count, failures: count });

/** What a pod says of its requests, in these shapes only: it is not trusted. */
export const routingReport = z.object({
  process: z.string().max(64),
  countedMs: count.optional(),
  counts: z
    .array(
      z.object({
        version,
        by: z.enum(['match', 'sticky', 'weight', 'shadow']),
        requests: count,
        failures: z.array(z.object({ blame: z.string().max(16), reason: z.string().max(32), count })).max(64),
        keys: outcome.optional(),
        latency: z.array(count).max(512),
        late: z.array(count).max(512).optional(),
        compared: z.record(z.string().max(256), outcome).optional(),
      }),
    )
    .max(256),
  unknownOutputs: z
    .object({ wanted: z.array(z.string().max(256)).max(8), has: z.array(z.string().max(256)).max(20) })
    .optional(),
});
export type Report = Omit<z.output<typeof routingReport>, 'countedMs'> & Began;

/** When a process began to count: no later than that by the clock here, milliseconds since the epoch. Absent: nobody knows. */
export interface Began {
  readonly beganAt?: number;
}

/** @param askedAt before it has said so */
export const began = (askedAt: number, countedMs: number | undefined): Began =>
  countedMs === undefined ? {} : { beganAt: askedAt - countedMs };

/** What a process says of the trials at one step of a pipeline, likewise. */
export const stepTrials = z.array(z.object({ rollout: z.string().max(128), version, n: count, dead: count })).max(16);

/** Of a process that handles a step's events. */
export interface StepReport extends Began {
  /** With another one counts begin at 0. */
  readonly process: string;
  readonly trials: readonly StepTrials[];
}

/** What the processes of a step say now, by `namespace/name` of its pipeline. Never rejects. */
export type AskSteps = (pipeline: string, step: string) => Promise<readonly StepReport[]>;

/** What a pod says of its table, likewise. */
export const routingStatus = z.object({
  generation: count.optional(),
  candidate: z.object({ version, weight: z.number().min(0).max(100) }).optional(),
});

/** What is read of it is what the runtime says. */
routingReport satisfies z.ZodType<unknown, Pick<RoutingReport, 'process'>>;
