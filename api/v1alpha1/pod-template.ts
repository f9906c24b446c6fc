import * as z from 'zod';
import { dnsSubdomain } from '../contract/names.ts';
import { problem } from '../errors.ts';
import { celRules, member, members, type Rule } from '../rules.ts';
import { atMost, labelValue, metadataKey, text } from './common.ts';

/** Characters of the JSON of an overlay: it is kept once more in the annotations of each Deployment. */
const largestTemplate = 32_768;

/**
 * Of a `spec`, and of the entries of `lists` in it, which may have a `podTemplate` each: one ConfigMap remembers all of them. No
 * CEL: a structural schema that keeps unknown fields has nothing that an expression could measure.
 */
export const podTemplateRule = (...lists: readonly string[]): Rule => ({
  message: `podTemplate has at most ${largestTemplate} characters of JSON, and so have all together`,
  check(spec, path) {
    const places = [
      { at: path, value: spec },
      ...lists.flatMap((list) =>
        members(member(spec, list)).map((value, index) => ({ at: `${path}.${list}[${index}]`, value })),
      ),
    ].filter(({ value }) => (member(value, 'podTemplate') ?? null) !== null);
    let size = 0;
    for (const { at, value } of places) {
      size += JSON.stringify(member(value, 'podTemplate')).length;
      if (size <= largestTemplate) continue;
      const found = `${size} characters of JSON`;
      return [problem('InvalidValue', `${at}.podTemplate`, { found, allowed: `at most ${largestTemplate} in all` })];
    }
    return [];
  },
});

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

const quantity = /^([0-9]+([.][0-9]*)?|[.][0-9]+)(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$/;

const resourceNameRule: Rule = {
  cel: 'self.all(name, size(name) <= 128)',
  message: 'names of resources have at most 128 characters',
  check: () => [], // the schema says it here; a structural schema says nothing of keys
};

const quantities = z
  .record(z.string().max(128), z.union([z.int().min(0).max(1e15), z.string().max(32).regex(quantity)]))
  .check(atMost(8))
  .meta({ maxProperties: 8, ...celRules([resourceNameRule]) });

/** @param of whose they are, as a description says it */
export const resources = (of: string) =>
  z
    .strictObject({
      requests: quantities.optional().describe('What the scheduler reserves, as in a Pod.'),
      limits: quantities.optional().describe('What a container may use at most, as in a Pod.'),
    })
    .describe(`Compute resources of ${of}. \`levada up\` does not enforce them.`);
export type Resources = z.output<ReturnType<typeof resources>>;

/** What the pods of a part of a pipeline are like, which has pods of its own. */
export const partPodFields = {
  resources: resources("the container that runs it. Default: the pipeline's").optional(),
  serviceAccountName: serviceAccountName
    .optional()
    .describe(
      "ServiceAccount of its pods; its token is not mounted. Default: the pipeline's. `levada up` does not use it.",
    ),
  podTemplate: podTemplate.optional(),
} as const;
export const partPodFieldNames = Object.keys(partPodFields) as ReadonlyArray<keyof typeof partPodFields>;

/** What the pods of all parts of a pipeline are like. */
export const pipelinePodFields = {
  resources: resources('the container that runs a step, a `group` or a source, each').optional(),
  serviceAccountName: serviceAccountName
    .optional()
    .describe('ServiceAccount of all pods; its token is not mounted. `levada up` does not use it.'),
  podTemplate: podTemplate.optional(),
} as const;
