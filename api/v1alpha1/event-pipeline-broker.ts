import * as z from 'zod';
import { dnsSubdomain } from '../contract/names.ts';
import { problem } from '../errors.ts';
import { celRules, member, type Rule, show } from '../rules.ts';
import { oneOf } from './event-pipeline-rules.ts';

const oddRule: Rule = {
  cel: '!has(self.replicas) || self.replicas % 2 == 1',
  message: 'replicas is odd',
  fieldPath: '.replicas',
  check(value, path) {
    const found = member(value, 'replicas');
    if (typeof found !== 'number' || found % 2 !== 0) return [];
    return [problem('InvalidValue', `${path}.replicas`, { found: show(found), allowed: '1, 3, 5, 7 or 9' })];
  },
};
const queuesRules: readonly Rule[] = [oddRule];

const queues = z
  .strictObject({
    maxLength: z
      .int()
      .min(1)
      .max(100_000_000)
      .optional()
      .describe(
        'Messages that a queue holds, without what is tried again. More are refused: sources answer 503. Default: as many as there is room for.',
      ),
    deliveryLimit: z
      .int()
      .min(1)
      .max(1000)
      .default(20)
      .describe('Deliveries of one message that no consumer lived to settle, before it is a dead letter.'),
    replicas: z
      .int()
      .min(1)
      .max(9)
      .optional()
      .describe("Nodes of the broker that keep a copy: an odd number, as a majority decides. Default: the broker's."),
  })
  .meta(celRules(queuesRules))
  .describe('What the queues of steps are like. Those that somebody else made stay as they are.');

const rabbitmq = z
  .strictObject({
    secretRef: z
      .strictObject({
        name: z.string().min(1).max(253).regex(dnsSubdomain).describe('Name of a Secret of the same namespace.'),
      })
      .optional()
      .describe(
        "Where the broker is, and with which user. Default: the operator's; under `levada up` that of `--broker`.",
      ),
    queues: queues.prefault({}),
  })
  .describe('RabbitMQ, 3.10 or later.');

const brokerRules: readonly Rule[] = [oneOf(['rabbitmq'])];

export const broker = z
  .strictObject({ rabbitmq: rabbitmq.optional() })
  .meta(celRules(brokerRules))
  .describe('What carries the messages. Exactly one of `rabbitmq`.');

/** Rules by the path that they hold at. */
export const brokerPathRules: ReadonlyArray<{ path: readonly string[]; rules: readonly Rule[] }> = [
  { path: ['spec', 'broker'], rules: brokerRules },
  { path: ['spec', 'broker', 'rabbitmq', 'queues'], rules: queuesRules },
];
