import * as z from 'zod';
import { listMap } from '../rules.ts';
import { conditions } from './common.ts';
import { partName } from './event-pipeline-fields.ts';

const stepStates = ['Pending', 'Running', 'Waiting', 'Draining'] as const;
export const breakerStates = ['Closed', 'Open', 'HalfOpen'] as const;

const count = z.int().min(0);
const lostAt = z.iso
  .datetime()
  .max(64)
  .describe('When its queue was last found missing and made anew. What the queue had held is lost.');

const stepStatus = z
  .strictObject({
    name: partName.describe('Name of the step.'),
    state: z
      .enum(stepStates)
      .describe(
        'Pending: not started. Running. Waiting: its breaker is open or its handler is not there. Draining: removed from the spec, and handling what is left.',
      ),
    backlog: count.describe('Messages that wait, those for a later attempt included.'),
    deadLetters: count.describe('Dead letters: `levada dlq NAME ls`.'),
    breaker: z.enum(breakerStates).describe('Whether messages are taken.'),
    message: z.string().max(4096).optional().describe('Why the step waits, or that something is lost.'),
    lostAt: lostAt.optional(),
  })
  .describe('State of one step.');
export type StepStatus = z.output<typeof stepStatus>;

const brokerStatus = z
  .strictObject({
    kind: z.enum(['memory', 'rabbitmq']).describe('memory: that of `levada up`, which ends with it.'),
    version: z.string().max(64).optional().describe('Version, as the broker says.'),
    settings: z
      .enum(['Policies', 'Arguments'])
      .optional()
      .describe(
        'Where `maxLength` and `deliveryLimit` are kept. Policies: they change in place. Arguments: the user may set no policies, and another value makes queues anew.',
      ),
  })
  .describe('What carries the messages.');

export const status = z
  .strictObject({
    conditions: conditions,
    observedGeneration: z.int().min(0).optional().describe('The `metadata.generation` that the status speaks of.'),
    sources: z
      .array(
        z.strictObject({
          name: partName.describe('Name of the source.'),
          ready: z.boolean().describe('Whether it takes events.'),
          url: z.string().max(1024).optional().describe('Where it takes them, for http.'),
          message: z
            .string()
            .max(4096)
            .optional()
            .describe('Why it waits, or that something is lost; for event and queue.'),
          lostAt: lostAt.optional(),
        }),
      )
      .max(16)
      .meta(listMap('name'))
      .describe('State of each source.'),
    steps: z.array(stepStatus).max(64).meta(listMap('name')).describe('State of each step.'),
    stepsRunning: z.string().max(16).describe('Steps that run, of those declared: `3/4`.'),
    backlog: count.describe('Sum over the queues: those of steps, and of event and queue sources.'),
    deadLetters: count.describe('Sum over the queues: those of steps, and of event and queue sources.'),
    broker: brokerStatus.optional(),
  })
  .describe('What is so. Written by the operator.');
export type EventPipelineStatus = z.output<typeof status>;
