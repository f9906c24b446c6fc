import * as z from 'zod';
import { isFetched, modelUriPattern, mountedUriPattern } from '../contract/model-uri.ts';
import { apiVersion, dnsSubdomain } from '../contract/names.ts';
import { parseDuration } from '../duration.ts';
import { problem } from '../errors.ts';
import { atomicList, celRules, listMap, member, members, type Rule, show } from '../rules.ts';
import { announcements } from './announcements.ts';
import { conditions, objectMeta, text } from './common.ts';
import { expose, exposePathRules } from './expose.ts';
import { podTemplate, podTemplateRule, resources, serviceAccountName } from './pod-template.ts';
import {
  lastRollback,
  match,
  rollout,
  rolloutPathRules,
  rolloutStatus,
  routingRules,
  shadow,
  split,
  sticky,
  versionName,
} from './rollout.ts';

// No %00, no encoded slash, nothing beyond ASCII encoded: every tool decodes what is left in the same way.
const modelUri = text(1024).regex(modelUriPattern);
const mountedUri = text(1024).regex(mountedUriPattern);

const versionRules: readonly Rule[] = [
  {
    cel: 'self == oldSelf',
    message: 'a declared version never changes; give the new content a new version name (VersionImmutable)',
    check: () => [], // needs the old object: see changedVersions
  },
  {
    cel: "!self.uri.matches('^[^/]*//[^/]*@')",
    message: 'a uri holds no user and password; secretRef names a Secret that does',
    fieldPath: '.uri',
    check: () => [], // the pattern says it as well
  },
  {
    cel: "!has(self.secretRef) || self.uri.matches('^(https?|s3)://')",
    message: 'secretRef goes with an http, https or s3 uri',
    fieldPath: '.secretRef',
    check(version, path) {
      const uri = member(version, 'uri');
      if (member(version, 'secretRef') === undefined || typeof uri !== 'string' || isFetched(uri)) return [];
      return [
        problem('InvalidValue', `${path}.secretRef`, {
          found: `it beside ${show(uri)}`,
          allowed: 'an http, https or s3 uri',
        }),
      ];
    },
  },
  {
    cel: "has(self.secretRef) || !self.uri.startsWith('s3://')",
    message: 'secretRef is required for an s3 uri',
    check(version, path) {
      const uri = member(version, 'uri');
      if (member(version, 'secretRef') !== undefined || typeof uri !== 'string' || !uri.startsWith('s3://')) return [];
      return [problem('MissingField', `${path}.secretRef`)];
    },
  },
];

const version = z
  .strictObject({
    name: versionName.describe('Name of the version. With the name of the resource it names a Service.'),
    uri: modelUri.describe(
      'Where the model is, an ONNX file or a folder that holds one `model.onnx`: `file:///path` inside the pod, `pvc://claim/path` in a PersistentVolumeClaim, or `configmap://name/key`; or a file that is fetched before a pod starts: `https://host/path`, `http://host/path` or `s3://bucket/key`. Claims and ConfigMaps are of the namespace and mounted read-only. A uri holds no user, password or query.',
    ),
    sha256: z
      .string()
      .length(64)
      .regex(/^[0-9a-f]{64}$/)
      .optional()
      .describe('SHA-256 of the ONNX file, in lower-case hex. A file with another digest is refused.'),
    secretRef: z
      .strictObject({
        name: z.string().min(1).max(253).regex(dnsSubdomain).describe('Name of a Secret of the same namespace.'),
      })
      .optional()
      .describe(
        'Credentials for an `http`, `https` or `s3` uri; required for `s3`. docs/guides/model-sources.md has the keys.',
      ),
  })
  .meta(celRules(versionRules))
  .describe('One model file. Its content never changes under its name.');

const maxDelayRule: Rule = {
  cel: "duration(self.maxDelay) <= duration('1s')",
  message: 'maxDelay is at most 1s',
  fieldPath: '.maxDelay',
  check(value, path) {
    const found = member(value, 'maxDelay');
    const ms = typeof found === 'string' ? parseDuration(found) : undefined;
    if (ms === undefined || ms <= 1000) return [];
    return [problem('InvalidValue', `${path}.maxDelay`, { found: show(found), allowed: 'at most 1s' })];
  },
};

const batching = z
  .strictObject({
    maxBatchSize: z
      .int()
      .min(1)
      .max(1024)
      .default(64)
      .describe('Rows that one run of the model takes at most. 1: no request is joined with another.'),
    maxDelay: z
      .string()
      .max(16)
      .regex(/^[0-9]{1,6}(ms|s)$/)
      .default('0s')
      .describe('How long a request may wait for others, at most 1s. 0s: whatever one turn of the event loop brings.'),
  })
  .meta(celRules([maxDelayRule]))
  .describe('How requests are joined into runs of the model.');

const specRules: readonly Rule[] = [
  {
    message: 'names of versions differ',
    check(spec, path) {
      const seen = new Set<unknown>();
      return members(member(spec, 'versions')).flatMap((entry, index) => {
        const name = member(entry, 'name');
        if (name === undefined || !seen.has(name)) {
          seen.add(name);
          return [];
        }
        return [problem('DuplicateName', `${path}.versions[${index}].name`, { found: show(name) })];
      });
    },
  },
  {
    cel: 'size(self.versions) == 1 || has(self.serve)',
    message: 'serve is required when there is more than one version (ServeRequired)',
    fieldPath: '.serve',
    check(spec, path) {
      const versions = members(member(spec, 'versions'));
      if (versions.length < 2 || member(spec, 'serve') !== undefined) return [];
      return [problem('ServeRequired', `${path}.serve`, { allowed: versionNames(versions) })];
    },
  },
  {
    cel: '!has(self.serve) || self.versions.exists(v, v.name == self.serve)',
    message: 'serve names a declared version (ServeUnknown)',
    found: 'self.serve',
    fieldPath: '.serve',
    check(spec, path) {
      const versions = members(member(spec, 'versions'));
      const serve = member(spec, 'serve');
      if (typeof serve !== 'string' || versions.some((v) => member(v, 'name') === serve)) return [];
      return [problem('ServeUnknown', `${path}.serve`, { found: show(serve), allowed: versionNames(versions) })];
    },
  },
  {
    cel: '!(has(self.classNames) && has(self.classNamesFrom))',
    message: 'at most one of classNames and classNamesFrom (TooManyMembers)',
    check(spec, path) {
      const found = ['classNames', 'classNamesFrom'].filter((name) => member(spec, name) !== undefined);
      if (found.length < 2) return [];
      return [problem('TooManyMembers', path, { found: found.join(' and '), allowed: 'classNames, classNamesFrom' })];
    },
  },
  ...routingRules,
  podTemplateRule(),
];

const versionNames = (versions: readonly unknown[]): string =>
  versions
    .map((v) => member(v, 'name'))
    .filter((name) => typeof name === 'string')
    .join(', ') || 'none is declared';

const spec = z
  .strictObject({
    versions: z
      .array(version)
      .min(1)
      .max(32)
      .meta(listMap('name'))
      .describe('Every version that may serve, also earlier ones: Git holds the way back. `serve` chooses.'),
    serve: versionName.optional().describe('The version that takes the traffic. Required when there is more than one.'),
    rollout: rollout.optional(),
    split: split.optional(),
    match: match.optional(),
    sticky: sticky.optional(),
    shadow: shadow.optional(),
    classNames: z
      .array(text(256).min(1))
      .min(1)
      .max(2_000)
      .meta(atomicList)
      .optional()
      .describe('Names of the classes 0, 1, 2 …, for `class_name` of POST /predict.'),
    classNamesFrom: z
      .strictObject({
        uri: mountedUri.describe(
          'A UTF-8 text file with one class name a line: `file:///path`, `pvc://claim/path` or `configmap://name/key`.',
        ),
      })
      .optional()
      .describe('The class names, from a file beside the model. At most one of `classNames` and this.'),
    batching: batching.prefault({}),
    replicas: z.int().min(1).max(1000).default(1).describe('Pods of each version that runs.'),
    resources: resources("one version's container").optional(),
    serviceAccountName: serviceAccountName
      .optional()
      .describe('ServiceAccount of the pods; its token is not mounted. `levada up` does not use it.'),
    podTemplate: podTemplate.optional(),
    expose: expose.optional(),
  })
  .meta(celRules(specRules))
  .describe('What is wanted.');

export const versionStates = ['Pending', 'Loading', 'Loaded', 'Failed'] as const;

const versionStatus = z
  .strictObject({
    name: versionName.describe('Name of the version in `spec.versions`.'),
    resolved: z
      .strictObject({
        uri: modelUri.describe('The URI that was resolved.'),
        digest: z.string().max(80).describe('Digest of the artifact, `sha256:<hex>`. Another artifact is refused.'),
      })
      .optional()
      .describe('What `uri` was resolved to, once. New pods take that and nothing else.'),
    state: z.enum(versionStates).describe('Pending: does not run. Loading, Loaded, Failed: of its pods.'),
    ready: z.int().min(0).max(100_000).describe('Pods that are ready.'),
    lastFailure: z
      .strictObject({
        reason: z.string().max(64).describe('A code of docs/reference/errors.md.'),
        message: z.string().max(4096).describe('What failed, and what to do.'),
        time: z.iso.datetime().max(64).describe('When.'),
      })
      .optional()
      .describe('The last failure of this version; stays until the version is loaded.'),
  })
  .describe('State of one version.');
export type VersionStatus = z.output<typeof versionStatus>;

const status = z
  .strictObject({
    conditions: conditions,
    observedGeneration: z.int().min(0).optional().describe('The `metadata.generation` that the status speaks of.'),
    url: z.string().max(1024).optional().describe('Where the model is served.'),
    stableVersion: versionName.optional().describe('The version that takes the traffic now.'),
    rollout: rolloutStatus.optional(),
    lastRollback: lastRollback.optional(),
    announcements: announcements.optional(),
    versions: z.array(versionStatus).max(32).meta(listMap('name')).describe('State of each declared version.'),
  })
  .describe('What is so. Written by the operator.');
export type ModelDeploymentStatus = z.output<typeof status>;

/** A ModelDeployment as it is applied: parse with {@link parseModelDeployment} semantics, i.e. schema, then rules. */
export const modelDeployment = z
  .strictObject({
    apiVersion: z.literal(apiVersion).describe('Version of the schema of this object.'),
    kind: z.literal('ModelDeployment').describe('Kind of this object.'),
    metadata: objectMeta,
    spec,
    status: status.optional(),
  })
  .describe('A model, its versions, and which of them serves.');
export type ModelDeployment = z.output<typeof modelDeployment>;
export type ModelVersion = ModelDeployment['spec']['versions'][number];

/** Rules by the path that they hold at. */
export const modelDeploymentRules: ReadonlyArray<{ path: readonly string[]; rules: readonly Rule[] }> = [
  { path: ['spec'], rules: specRules },
  { path: ['spec', 'versions', '*'], rules: versionRules },
  { path: ['spec', 'batching'], rules: [maxDelayRule] },
  ...rolloutPathRules,
  ...exposePathRules('spec'),
];

/** What the CRD says beyond its schema. */
export const modelDeploymentCrd = {
  kind: 'ModelDeployment',
  plural: 'modeldeployments',
  singular: 'modeldeployment',
  shortNames: ['mdl'],
  categories: ['levada'],
  printerColumns: [
    {
      name: 'Ready',
      type: 'string',
      jsonPath: '.status.conditions[?(@.type=="Ready")].status',
      description: 'Whether the wanted version serves.',
    },
    { name: 'Phase', type: 'string', jsonPath: '.status.rollout.phase', description: 'Where the rollout is.' },
    {
      name: 'Stable',
      type: 'string',
      jsonPath: '.status.stableVersion',
      description: 'The version that takes the traffic.',
    },
    {
      name: 'Candidate',
      type: 'string',
      jsonPath: '.status.rollout.candidate',
      description: 'The version that is to take over.',
    },
    { name: 'Weight', type: 'number', jsonPath: '.status.rollout.weight', description: 'Percent that it gets.' },
    {
      name: 'Reason',
      type: 'string',
      jsonPath: '.status.conditions[?(@.type=="Ready")].reason',
      description: 'Why it is ready or not.',
    },
    { name: 'URL', type: 'string', jsonPath: '.status.url', priority: 1, description: 'Where the model is served.' },
    { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp', description: 'Time since creation.' },
  ],
} as const;

/** The version that `spec` wants to serve. */
export const wantedVersion = (spec: ModelDeployment['spec']): string => spec.serve ?? spec.versions[0]?.name ?? '';

/** Entries of `now` that have the name of an entry of `before` and other content: what the CEL transition rule refuses. */
export function changedVersions(before: readonly ModelVersion[], now: readonly ModelVersion[]) {
  return now.flatMap((entry, index) => {
    const old = before.find((v) => v.name === entry.name);
    if (!old) return [];
    const values = ({ uri, sha256, secretRef }: ModelVersion) => ({ uri, sha256, secretRef: secretRef?.name });
    const [was, found] = [values(old), values(entry)];
    const field = (['uri', 'sha256', 'secretRef'] as const).find((name) => was[name] !== found[name]);
    if (!field) return [];
    return [
      problem('VersionImmutable', `spec.versions[${index}].${field}`, {
        version: entry.name,
        field,
        was: show(was[field]),
        found: show(found[field]),
      }),
    ];
  });
}
