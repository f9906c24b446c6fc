import * as z from 'zod';
import { dns1035, dnsLabel, limits } from '../contract/names.ts';
import { listMap } from '../rules.ts';

/** Text of at most `max` characters, counted as the API server counts them: in code points, not UTF-16 units. */
export const text = (max: number) =>
  z
    .string()
    .check((context) => {
      const { value } = context;
      if (value.length <= max || [...value].length <= max) return;
      context.issues.push({ code: 'too_big', origin: 'string', maximum: max, inclusive: true, input: value });
    })
    .meta({ maxLength: max });

/** A map has at most `max` entries. */
export const atMost =
  (max: number) =>
  ({ value, issues }: z.core.ParsePayload<Record<string, unknown>>): void => {
    if (Object.keys(value).length <= max) return;
    issues.push({ code: 'too_big', origin: 'object', maximum: max, inclusive: true, input: value });
  };

/** `name` or `prefix/name`, as keys of labels and annotations are; only annotations may have capitals in the prefix. */
export const metadataKey = (letters: string) =>
  z
    .string()
    .max(317)
    .regex(
      new RegExp(
        `^([${letters}]([-${letters}]*[${letters}])?([.][${letters}]([-${letters}]*[${letters}])?)*/)?` +
          '[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$',
      ),
    );

export const labelValue = z
  .string()
  .max(63)
  .regex(/^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$/);

export const objectMeta = z
  .looseObject({
    name: z
      .string()
      .min(1)
      .max(limits.resourceName)
      .regex(dns1035)
      .describe('Name of the resource. Services are named after it, so it is a DNS-1035 label.'),
    namespace: z.string().max(63).regex(dnsLabel).optional().describe('Namespace; `default` on a laptop.'),
    generation: z.int().min(0).optional().describe('Counts the changes of `spec`. Set by the API server.'),
    labels: z
      .record(metadataKey('a-z0-9'), labelValue)
      .optional()
      .describe('Labels; never copied to what the resource makes.'),
    annotations: z
      .record(metadataKey('A-Za-z0-9'), z.string())
      .optional()
      .describe('Annotations; never copied to what the resource makes.'),
  })
  .describe('Standard object metadata.');

/** Condition types that kstatus and Argo CD read (Ready, Reconciling, Stalled), and ours. */
export const conditionTypes = [
  'Accepted',
  'Ready',
  'Serving',
  'BrokerConnected',
  'TopologyReady',
  'Reconciling',
  'Stalled',
] as const;
export type ConditionType = (typeof conditionTypes)[number];

const condition = z
  .strictObject({
    type: z.enum(conditionTypes).describe('What is said.'),
    status: z.enum(['True', 'False', 'Unknown']).describe('Whether it is so.'),
    observedGeneration: z.int().min(0).optional().describe('The `metadata.generation` that this was said of.'),
    lastTransitionTime: z.iso.datetime().max(64).describe('When `status` last changed.'),
    reason: z
      .string()
      .min(1)
      .max(64)
      .regex(/^[A-Za-z]([A-Za-z0-9]*[A-Za-z0-9])?$/)
      .describe('Why, in one word: a code of docs/reference/errors.md, or what is going on.'),
    message: z.string().max(4096).describe('Why, in a sentence that says what to do.'),
  })
  .describe('One aspect of the state.');
export type Condition = z.output<typeof condition>;

export const conditions = z.array(condition).max(16).meta(listMap('type')).describe('The state, one aspect an entry.');
