import * as z from 'zod';
import { modelEvents } from '../contract/model-events.ts';
import { atomicList } from '../rules.ts';
import { text } from './common.ts';
import { resourceName } from './event-pipeline-fields.ts';
import { share, time, versionName } from './rollout.ts';

/** Kept at most; of more the oldest are given up. */
export const maxAnnouncements = 16;
/** Pipelines that are told of one. */
export const maxListeners = 500;

/** An entry goes when all of its pipelines have got it. */
export const announcements = z
  .array(
    z
      .strictObject({
        type: z.enum(modelEvents).describe('What has happened.'),
        rollout: text(128).describe('Id of the rollout. With the type it makes the id of the event.'),
        version: versionName.describe('The version that the rollout was about.'),
        from: versionName.describe('The version that had served until then.'),
        time: time.describe('When.'),
        gate: text(300)
          .optional()
          .describe('Why it went back: a gate, `progressDeadline`, `notReady`, `abort`, `serve`, or `digest`.'),
        observed: share.optional().describe('What the gate had counted.'),
        limit: share.optional().describe('What it was held against.'),
        n: z.int().min(0).optional().describe('Trials that the gate had counted.'),
        to: z
          .array(resourceName)
          .max(maxListeners)
          .meta(atomicList)
          .describe('EventPipelines of the namespace that have not got it yet.'),
      })
      .describe('How a rollout has ended.'),
  )
  .max(maxAnnouncements)
  .meta(atomicList)
  .describe('What pipelines with an `event` source of this model are still to be told.');
