import * as z from 'zod';
import { dnsSubdomain } from '../contract/names.ts';
import { problem } from '../errors.ts';
import { member, type Rule } from '../rules.ts';
import { atMost, labelValue, metadataKey, text } from './common.ts';

/** Characters of the JSON of an overlay: it is kept once more in the annotations of each Deployment. */
const largestTemplate = 32_768;

/** No CEL: a structural schema that keeps unknown fields has nothing that an expression could measure. */
const sizeRule: Rule = {
  message: `podTemplate has at most ${largestTemplate} characters of JSON`,
  check(spec, path) {
    const size = JSON.stringify(member(spec, 'podTemplate') ?? null).length;
    if (size <= largestTemplate) return [];
    const found = `${size} characters of JSON`;
    return [problem('InvalidValue', `${path}.podTemplate`, { found, allowed: `at most ${largestTemplate}` })];
  },
};
/** Of a `spec` with a `podTemplate`. */
export const podTemplateRules: readonly Rule[] = [sizeRule];

/** What a user lays over the pods that Levada makes. Its fields are the API server's to judge, which is asked by a dry run. */
export const podTemplate = z
  .strictObject({
    metadata: z
      .strictObject({
        labels: z
          .record(metadataKey('a-z0-9'), labelValue)
          .check(atMost(64))
          .meta({ maxProperties: 64 })
          .optional()
          .describe("Labels of the pods, beside Levada's own."),
        annotations: z
          .record(metadataKey('A-Za-z0-9'), text(8192))
          .check(atMost(64))
          .meta({ maxProperties: 64 })
          .optional()
          .describe('Annotations of the pods.'),
      })
      .optional()
      .describe('Labels and annotations of the pods.'),
    spec: z
      .record(z.string(), z.unknown())
      .check(atMost(64))
      .meta({ 'x-kubernetes-preserve-unknown-fields': true, maxProperties: 64 })
      .optional()
      .describe(
        'Fields of a PodSpec. Containers, volumes, variables and the like are merged by their name, other lists replaced, `null` removes.',
      ),
  })
  .describe(
    'A partial PodTemplateSpec, laid over that of the pods as `kubectl patch` does. What Levada needs stays its own. `levada up` does not use it.',
  );
export type PodTemplate = z.output<typeof podTemplate>;

export const serviceAccountName = z.string().min(1).max(253).regex(dnsSubdomain);
