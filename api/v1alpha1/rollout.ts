import * as z from 'zod';
import { dnsLabel, limits, rolloutCommand } from '../contract/names.ts';
import { problem } from '../errors.ts';
import { atomicList, celRules, listMap, member, members, type Rule, show } from '../rules.ts';
import { atMost, text } from './common.ts';
import { duration, partName, resourceName } from './event-pipeline-fields.ts';
import { durationRule, oneOf } from './event-pipeline-rules.ts';

/** How a new version takes over, and how requests are shared between versions: fields of `spec` and `status` of a ModelDeployment. */

export const versionName = z.string().min(1).max(limits.versionName).regex(dnsLabel);

/** Percent. */
const weight = z.number().min(0).max(100);
/** Of trials; at 0 one failure, and at 1 none, would say anything. */
const proportion = z.number().min(0.0001).max(0.9999);

/** The API server holds whole numbers against the whole part of a bound only, so that 0 would pass for 0.01. */
const atLeast = (field: string, least: number): Rule => ({
  cel: `self.${field} >= ${least}`,
  message: `${field} is at least ${least}`,
  fieldPath: `.${field}`,
  check: () => [], // the schema says it here
});

const stepRules: readonly Rule[] = [durationRule('hold', '0s', '30d'), atLeast('weight', 0.01)];
const maxRules: readonly Rule[] = [atLeast('max', 0.0001)];

const step = z
  .strictObject({
    weight: z.number().min(0.01).max(100).describe('Percent of the requests that the candidate answers.'),
    hold: duration.default('0s').describe('How long the step lasts at least, once every pod has its weight.'),
    approval: z.boolean().optional().describe('Whether a person has to say `resume` at its end. Default: false.'),
  })
  .meta(celRules(stepRules))
  .describe('One weight of the candidate.');

const gateNames = ['errorRate', 'latency', 'disagreement', 'deadLetters'] as const;

const gate = z
  .strictObject({
    errorRate: z
      .strictObject({ max: proportion.describe('Proportion of the candidate’s requests that may fail by its fault.') })
      .meta(celRules(maxRules))
      .optional()
      .describe(
        'Requests that the candidate fails at and the stable version does not. What both fail at, or refuse, is not counted.',
      ),
    latency: z
      .strictObject({
        quantile: z.number().min(0.5).max(0.999).describe('Quantile of the stable version that is compared with.'),
        maxRatio: z.number().min(1).max(100).describe('What it is multiplied with; 5 ms are added.'),
      })
      .meta(celRules([atLeast('quantile', 0.5)]))
      .optional()
      .describe(
        'The candidate’s requests that take longer than `maxRatio` × the stable version’s quantile + 5 ms, timed in the pod that serves them. Their limit is 1 − `quantile`.',
      ),
    disagreement: z
      .strictObject({
        output: text(256).min(1).describe('Output of the model that is compared.'),
        max: proportion.describe('Proportion of the compared requests whose outputs may differ.'),
      })
      .meta(celRules(maxRules))
      .optional()
      .describe(
        'The stable version also scores a sample of the requests that the candidate has answered. Whole numbers, texts and booleans differ when they are not equal; floating-point numbers when they are further apart than 0.001 of the greater one, and 0.001.',
      ),
    deadLetters: z
      .strictObject({
        pipeline: resourceName.describe('EventPipeline of the same namespace.'),
        step: partName.describe('Its step that asks this model.'),
        maxRate: proportion.describe(
          'Proportion of the events that the candidate has scored that may end as dead letters.',
        ),
      })
      .meta(celRules([atLeast('maxRate', 0.0001)]))
      .optional()
      .describe(
        'Events that become dead letters of a pipeline’s step after the candidate has scored them, for example because `output` or the schema of the next event does not hold for its answer. Where the stable version’s events exceed the limit as well, the candidate’s have to be clearly more.',
      ),
  })
  .meta(celRules([oneOf(gateNames)]))
  .describe(`A gate. Exactly one of ${gateNames.join(', ')}.`);

const gatesRule: Rule = {
  cel: `self.all(g, self.filter(h, ${[
    'has(g.errorRate) && has(h.errorRate)',
    'has(g.latency) && has(h.latency) && g.latency == h.latency',
    'has(g.disagreement) && has(h.disagreement) && g.disagreement.output == h.disagreement.output',
    'has(g.deadLetters) && has(h.deadLetters) && g.deadLetters.pipeline == h.deadLetters.pipeline && g.deadLetters.step == h.deadLetters.step',
  ]
    .map((same) => `(${same})`)
    .join(' || ')}).size() == 1 || !(${gateNames.map((name) => `has(g.${name})`).join(' || ')}))`,
  message: 'no two gates count the same',
  check(gates, path) {
    const seen = new Set<string>();
    return members(gates).flatMap((entry, index) => {
      const key = gateKey(entry);
      if (key === undefined || !seen.has(key)) {
        if (key !== undefined) seen.add(key);
        return [];
      }
      return [problem('DuplicateName', `${path}[${index}]`, { found: show(key) })];
    });
  },
};

function gateKey(entry: unknown): string | undefined {
  if (member(entry, 'errorRate') !== undefined) return 'errorRate';
  const latency = member(entry, 'latency');
  if (latency !== undefined) return `latency/${member(latency, 'quantile')}/${member(latency, 'maxRatio')}`;
  const disagreement = member(entry, 'disagreement');
  if (disagreement !== undefined) return `disagreement/${member(disagreement, 'output')}`;
  const deadLetters = member(entry, 'deadLetters');
  return deadLetters === undefined
    ? undefined
    : `deadLetters/${member(deadLetters, 'pipeline')}/${member(deadLetters, 'step')}`;
}

const rolloutRules: readonly Rule[] = [
  durationRule('interval', '1s', '1h'),
  durationRule('progressDeadline', '1s', '365d'),
  durationRule('promotionHold', '0s', '30d'),
];

export const rollout = z
  .strictObject({
    interval: duration.default('15s').describe('How often the gates are looked at, 1s to 1h.'),
    steps: z
      .array(step)
      .min(1)
      .max(20)
      .meta(atomicList)
      .prefault([
        { weight: 5, hold: '1m' },
        { weight: 25, hold: '5m' },
        { weight: 50, hold: '5m' },
      ])
      .describe('What the candidate gets, one step after the other; after the last one it takes over.'),
    minRequests: z
      .int()
      .min(0)
      .max(1_000_000_000)
      .default(0)
      .describe(
        'Requests that the candidate has had in a step before the next one begins. Keeps from going on, never from going back.',
      ),
    progressDeadline: duration
      .default('2h')
      .describe(
        'When nothing has moved for so long, `onFailure` is done. Holds, and what waits for a person, are not counted.',
      ),
    promotionHold: duration
      .default('10m')
      .describe('How long the old version stays ready after the new one has taken over: going back is one move.'),
    gates: z
      .array(gate)
      .max(8)
      .meta({ ...atomicList, ...celRules([gatesRule]) })
      .prefault([{ errorRate: { max: 0.01 } }])
      .describe(
        'What the candidate is judged by. Each is a proportion against its limit, by one test that may be looked at at any time; all share a chance of 1 % to take back a version that keeps its limits.',
      ),
    onFailure: z
      .enum(['Rollback', 'Pause'])
      .default('Rollback')
      .describe('What happens when a gate fails or the deadline is over.'),
  })
  .meta(celRules(rolloutRules))
  .describe('How a version that `serve` newly names takes over, step by step. Absent: as soon as it is loaded.');

const headerName = z
  .string()
  .min(1)
  .max(128)
  .regex(/^[a-z0-9_.-]+$/);

const headerRule: Rule = {
  cel: "size(self) > 0 && self.all(name, name.matches('^[a-z0-9_.-]{1,128}$'))",
  message: 'at least one header, names in lower case',
  check(value, path) {
    if (typeof value !== 'object' || value === null || Object.keys(value).length > 0) return [];
    return [problem('InvalidValue', path, { found: 'no header', allowed: 'at least one' })];
  },
};

export const match = z
  .array(
    z
      .strictObject({
        header: z
          .record(headerName, text(1024))
          .check(atMost(8))
          .meta({ maxProperties: 8, ...celRules([headerRule]) })
          .describe('Headers, names in lower case; the request has all of them, with exactly these values.'),
        version: versionName.describe('The version that answers.'),
      })
      .describe('A rule.'),
  )
  .max(32)
  .meta(atomicList)
  .describe('Rules that come before the weights, the first that fits. What they decide is not judged by gates.');

export const split = z
  .array(
    z
      .strictObject({
        version: versionName.describe('Name of a declared version.'),
        weight: weight.describe('Percent of the requests.'),
      })
      .describe('The share of a version.'),
  )
  .min(2)
  .max(32)
  .meta(listMap('version'))
  .describe(
    'Shares of versions that are held until they are changed, for A/B tests: `serve` is one of them, and they sum to 100. Not together with `rollout`.',
  );

export const sticky = z
  .strictObject({
    header: headerName.describe('Name of the header, in lower case. A request without it is shared out by weight.'),
  })
  .describe(
    'Requests with the same value of a header go to the same version. A pipeline’s step says its own key, which comes first.',
  );

export const shadow = z
  .strictObject({
    version: versionName.describe('The version that gets the copies.'),
    percent: weight.describe('Percent of the requests that are copied.'),
  })
  .describe('A version that gets copies of requests after they were answered. Nobody sees what it makes of them.');

const declared = (spec: unknown): unknown[] => members(member(spec, 'versions')).map((one) => member(one, 'name'));
const servedBy = (spec: unknown): unknown => member(spec, 'serve') ?? declared(spec)[0];

function undeclared(spec: unknown, path: string, found: unknown): ReturnType<Rule['check']> {
  const names = declared(spec);
  if (typeof found !== 'string' || names.includes(found)) return [];
  const allowed = names.filter((name) => typeof name === 'string').join(', ') || 'none is declared';
  return [problem('ServeUnknown', path, { found: show(found), allowed })];
}

const names = (list: string, one: string): string => `${list}.exists(v, v.name == ${one})`;

/** Of `spec`. */
export const routingRules: readonly Rule[] = [
  {
    cel: '!(has(self.rollout) && has(self.split))',
    message: 'at most one of rollout and split (TooManyMembers)',
    check(spec, path) {
      const found = ['rollout', 'split'].filter((name) => member(spec, name) !== undefined);
      if (found.length < 2) return [];
      return [problem('TooManyMembers', path, { found: found.join(' and '), allowed: 'rollout, split' })];
    },
  },
  {
    cel: `!has(self.match) || self.match.all(m, ${names('self.versions', 'm.version')})`,
    message: 'match names declared versions (ServeUnknown)',
    fieldPath: '.match',
    check: (spec, path) =>
      members(member(spec, 'match')).flatMap((one, index) =>
        undeclared(spec, `${path}.match[${index}].version`, member(one, 'version')),
      ),
  },
  {
    cel: `!has(self.split) || self.split.all(s, ${names('self.versions', 's.version')})`,
    message: 'split names declared versions (ServeUnknown)',
    fieldPath: '.split',
    check: (spec, path) =>
      members(member(spec, 'split')).flatMap((one, index) =>
        undeclared(spec, `${path}.split[${index}].version`, member(one, 'version')),
      ),
  },
  {
    cel: '!has(self.split) || !has(self.serve) || self.split.exists(s, s.version == self.serve)',
    message: 'split has a share for serve',
    fieldPath: '.split',
    check(spec, path) {
      const split = member(spec, 'split');
      const serve = servedBy(spec);
      if (!Array.isArray(split) || split.some((one) => member(one, 'version') === serve)) return [];
      return [problem('InvalidValue', `${path}.split`, { found: 'no share of it', allowed: `one for ${show(serve)}` })];
    },
  },
  {
    // Hundredths, as whole numbers: CEL has no tolerance.
    cel: '!has(self.split) || self.split.map(s, int(s.weight * 100.0 + 0.5)).sum() == 10000',
    message: 'the weights of split sum to 100',
    fieldPath: '.split',
    check(spec, path) {
      const weights = members(member(spec, 'split')).map((one) => member(one, 'weight'));
      if (weights.length === 0 || weights.some((one) => typeof one !== 'number')) return [];
      const sum = (weights as number[]).reduce((total, one) => total + Math.floor(one * 100 + 0.5), 0);
      if (sum === 10_000) return [];
      return [problem('InvalidValue', `${path}.split`, { found: `a sum of ${sum / 100}`, allowed: '100' })];
    },
  },
  {
    cel: `!has(self.shadow) || (${names('self.versions', 'self.shadow.version')} && (!has(self.serve) || self.shadow.version != self.serve))`,
    message: 'shadow names a declared version that does not serve (ServeUnknown)',
    fieldPath: '.shadow',
    check(spec, path) {
      const found = member(member(spec, 'shadow'), 'version');
      if (found === undefined) return [];
      const problems = undeclared(spec, `${path}.shadow.version`, found);
      if (problems.length > 0 || found !== servedBy(spec)) return problems;
      return [
        problem('InvalidValue', `${path}.shadow.version`, { found: show(found), allowed: 'another one than serves' }),
      ];
    },
  },
];

/** Rules by the path that they hold at. */
export const rolloutPathRules: ReadonlyArray<{ path: readonly string[]; rules: readonly Rule[] }> = [
  { path: ['spec', 'match', '*', 'header'], rules: [headerRule] },
  { path: ['spec', 'rollout'], rules: rolloutRules },
  { path: ['spec', 'rollout', 'steps', '*'], rules: stepRules },
  { path: ['spec', 'rollout', 'gates'], rules: [gatesRule] },
  { path: ['spec', 'rollout', 'gates', '*'], rules: [oneOf(gateNames)] },
];

export const phases = [
  'Stable',
  'Progressing',
  'Waiting',
  'AwaitingApproval',
  'Paused',
  'Promoting',
  'Holding',
  'RolledBack',
  'Aborted',
] as const;

export const verdicts = ['Pass', 'Fail', 'Inconclusive', 'NoTraffic'] as const;

export const time = z.iso.datetime().max(64);
const digest = z.string().max(80);
export const share = z.number().min(0).max(1);
const count = z.int().min(0);

const gateStatus = z
  .strictObject({
    gate: text(300).describe(
      'What is counted: `errorRate`, `latency/0.99/1.2`, `disagreement/label`, `deadLetters/orders/score`.',
    ),
    verdict: z
      .enum(verdicts)
      .describe(
        'Pass: enough was counted, and it is within the limit. Fail: the limit is exceeded, beyond chance. Inconclusive: neither. NoTraffic: nothing was counted.',
      ),
    observed: share.optional().describe('failures / n. Absent: nothing was counted.'),
    limit: share.describe('What it is held against.'),
    interval: z
      .array(share)
      .min(2)
      .max(2)
      .meta(atomicList)
      .describe('Where the true proportion is, at all times together but for a small chance.'),
    n: count.describe('Trials: requests, or keys where traffic is sticky.'),
    failures: count.describe('Those of them that have failed.'),
    stable: z
      .strictObject({
        n: count.describe('Trials.'),
        failures: count.describe('Those of them that have failed.'),
      })
      .optional()
      .describe('The same of the stable version, of a gate that compares with it: `deadLetters`.'),
    message: text(1024)
      .optional()
      .describe(
        'Why nothing can be counted: what the gate refers to is not there, or the stable version has had too few requests to compare with.',
      ),
  })
  .describe('What a gate says.');

const command = z
  .strictObject({
    text: text(256).describe(`As it was in the annotation \`${rolloutCommand}\`.`),
    time: time.describe('When it was acted on.'),
    outcome: z.enum(['Done', 'Refused']).describe('What became of it.'),
    message: text(1024).describe('What was done, or why nothing was.'),
  })
  .describe('The last command of a person. It is acted on once.');

export const rolloutStatus = z
  .strictObject({
    phase: z.enum(phases).describe('Where it is. Stable: nothing is under way.'),
    id: text(128).optional().describe('What a command has to name: `<candidate>-<beginning>-<turn>`.'),
    message: text(4096).optional().describe('What it waits for, or why it is where it is.'),
    stable: versionName.describe('The version that is compared with, and gone back to.'),
    candidate: versionName.optional().describe('The version that is to take over.'),
    leaving: versionName.optional().describe('The candidate of before: it stays until no pod hands it requests.'),
    digest: digest.optional().describe('Of the candidate’s artifact.'),
    intent: text(64).optional().describe('Stands for `serve` and `rollout` as this rollout has seen them.'),
    startedAt: time.optional().describe('When it began.'),
    progressedAt: time.optional().describe('When it last got on.'),
    step: z.int().min(0).max(1_000).optional().describe('Index of the step in `spec.rollout.steps`.'),
    stepStartedAt: time.optional().describe('When every pod had the weight of the step.'),
    requests: count.optional().describe('Requests of the candidate in this step.'),
    approved: z.literal(true).optional().describe('A person has said that the step is over.'),
    weight: weight.optional().describe('Percent that the candidate is to have.'),
    appliedWeight: weight.optional().describe('Percent that every ready pod has acknowledged.'),
    countedFrom: time
      .optional()
      .describe('Since when `gates` count, where they have begun anew: by `resume`, or with a new gate.'),
    countedUntil: time.optional().describe('Until when requests are counted in `gates`.'),
    gates: z.array(gateStatus).max(8).meta(listMap('gate')).optional().describe('What the gates say.'),
    promoted: z.literal(true).optional().describe('A person has promoted it.'),
    overruled: z
      .literal(true)
      .optional()
      .describe('It was promoted although a gate had failed: gates do not act any more.'),
    failed: z.literal(true).optional().describe('It was paused by a failure, not by a person.'),
    holdUntil: time.optional().describe('Until when the old version stays.'),
    command: command.optional(),
  })
  .describe('The rollout. All that the operator knows of it is here.');

export const lastRollback = z
  .strictObject({
    version: versionName.describe('The version that was taken back.'),
    digest: digest.optional().describe('Of its artifact.'),
    gate: text(300).describe('Why: a gate, `progressDeadline`, `notReady`, or `abort`.'),
    observed: share.optional().describe('What the gate had counted.'),
    limit: share.optional().describe('What it was held against.'),
    time: time.describe('When.'),
  })
  .describe('The last version that was taken back.');
