import { parseDuration } from '../../api/duration.ts';
import { type ModelDeployment, wantedVersion } from '../../api/v1alpha1/model-deployment.ts';
import { formatAge, formatTable } from '../table.ts';
import { bar, sparkline } from './draw.ts';

/** What `levada rollout` and `levada status` say of a rollout, as text. */

type Status = NonNullable<ModelDeployment['status']>;
export type RolloutStatus = NonNullable<Status['rollout']>;
type GateStatus = NonNullable<RolloutStatus['gates']>[number];

/** What was seen while it was watched, oldest first. */
export interface History {
  readonly weights: readonly number[];
  /** By gate. Absent: nothing was counted then. */
  readonly observed: Readonly<Record<string, readonly (number | undefined)[]>>;
}

const barWidth = 30;

/** All of it. */
export function formatRollout(resource: ModelDeployment, now: Date, history?: History, columns = 120): string {
  const { metadata, status } = resource;
  const { rollout, lastRollback } = status ?? {};
  const head = `ModelDeployment ${metadata.name}: ${rollout?.phase ?? 'no rollout'}`;
  const parts = [
    `${head}\n${rollout?.message || idleMessage(resource)}`,
    ...(rollout?.candidate === undefined ? [] : [formatWeights(rollout, history, columns)]),
    ...(rollout?.id === undefined ? [] : [formatFacts(resource, rollout, now)]),
    ...formatGates(rollout, history, columns),
    ...(lastRollback ? [formatLastRollback(lastRollback, now)] : []),
  ];
  return parts.join('\n\n');
}

/** In one line, for a log. */
export function rolloutLine(resource: ModelDeployment): string {
  const gates = (resource.status?.rollout?.gates ?? []).map(({ gate, verdict }) => `${gate} ${verdict}`);
  return [rolloutSentence(resource), ...(gates.length > 0 ? [gates.join(', ')] : [])].join('; ');
}

/** Without gates. */
export function rolloutSentence(resource: ModelDeployment): string {
  const { rollout } = resource.status ?? {};
  if (rollout?.candidate === undefined) return `${rollout?.phase ?? 'No rollout'}: ${idleMessage(resource)}`;
  const step = stepOf(resource, rollout);
  return [
    `${rollout.phase}: ${rollout.candidate} ${weightOf(rollout)}`,
    ...(step === undefined ? [] : [`step ${step}`]),
    ...(rollout.message ? [rollout.message] : []),
  ].join('; ');
}

/** Also for `levada status`, beside what that says itself. */
export function formatGates(rollout: RolloutStatus | undefined, history?: History, columns = 120): string[] {
  const gates = rollout?.gates ?? [];
  if (gates.length === 0) return [];
  const header = ['GATE', 'VERDICT', 'OBSERVED', 'LIMIT', 'INTERVAL', 'N'];
  const rows = gates.map(gateRow);
  if (!history) return [formatTable(header, rows)];
  const used = Math.max(
    ...formatTable(header, rows)
      .split('\n')
      .map(({ length }) => length),
  );
  const width = Math.min(40, Math.max(8, columns - used - 4));
  const trends = gates.map(({ gate, limit }) => {
    const values = history.observed[gate] ?? [];
    // The limit is half of the height at most: what comes near it is seen to.
    return sparkline(values, Math.max(2 * limit, ...values.map((value) => value ?? 0)), width);
  });
  return [
    formatTable(
      [...header, 'TREND'],
      rows.map((row, i) => [...row, trends[i] ?? '']),
    ),
  ];
}

const gateRow = ({ gate, verdict, observed, limit, interval: [low = 0, high = 1], n }: GateStatus): string[] => [
  gate,
  verdict,
  observed === undefined ? '' : percent(observed),
  percent(limit),
  n === 0 ? '' : `${percent(low)} to ${percent(high)}`,
  String(n),
];

/** Of a proportion. */
const percent = (value: number): string => `${Number((value * 100).toPrecision(3))} %`;

function idleMessage({ spec, status }: ModelDeployment): string {
  const { stableVersion } = status ?? {};
  const wanted = wantedVersion(spec);
  if (stableVersion === undefined) return `No version serves yet; ${wanted} is wanted.`;
  if (stableVersion === wanted) return `Version ${wanted} serves. No rollout is under way.`;
  return `Version ${stableVersion} serves; ${wanted} is wanted.`;
}

function formatWeights(rollout: RolloutStatus, history: History | undefined, columns: number): string {
  const { stable, candidate = '', weight = 0 } = rollout;
  const row = (name: string, version: string, share: number): string[] => [
    name,
    version,
    bar(share / 100, barWidth),
    `${Number(share.toFixed(2))} %`.padStart(7),
  ];
  const lines = [row('stable', stable, 100 - weight), row('candidate', candidate, weight)];
  const table = formatTable(lines[0] ?? [], lines.slice(1));
  const { appliedWeight = weight } = rollout;
  const applied = appliedWeight === weight ? '' : `\nevery pod has ${appliedWeight} % so far`;
  if (!history) return table + applied;
  const before = candidate.padEnd(Math.max(stable.length, candidate.length) + 3);
  const trend = sparkline(history.weights, 100, Math.min(60, Math.max(8, columns - 12 - before.length - 1)));
  return `${table}\n${'trend'.padEnd(12)}${before}${trend}${applied}`;
}

const weightOf = ({ weight = 0, appliedWeight = weight }: RolloutStatus): string =>
  weight === appliedWeight ? `${weight} %` : `${weight} % (applied: ${appliedWeight} %)`;

function formatFacts(resource: ModelDeployment, rollout: RolloutStatus, now: Date): string {
  const { id = '', requests, command, holdUntil, stable, phase, startedAt } = rollout;
  const minRequests = resource.spec.rollout?.minRequests ?? 0;
  const step = stepOf(resource, rollout, now);
  const holds = phase === 'Holding' && holdUntil !== undefined;
  const isJudged = step !== undefined && requests !== undefined;
  const facts: [string, string | undefined][] = [
    ['step', step],
    ['requests', isJudged ? `${requests}${minRequests > 0 ? ` of ${minRequests}` : ''}` : undefined],
    ['hold', holds ? `${stable} stays for ${formatSpan(Date.parse(holdUntil) - now.getTime())}` : undefined],
    ['begun', startedAt === undefined ? undefined : `${formatAge(startedAt, now)} ago`],
    ['id', id],
    ['command', command && `${command.text}, ${command.outcome}: ${command.message}`],
  ];
  return facts.flatMap(([name, value]) => (value === undefined ? [] : [`${name.padEnd(12)}${value}`])).join('\n');
}

const stepping: readonly RolloutStatus['phase'][] = ['Progressing', 'Waiting', 'AwaitingApproval', 'Paused'];

/** `2 of 3`, and with `now` what is left of it. */
function stepOf({ spec }: ModelDeployment, rollout: RolloutStatus, now?: Date): string | undefined {
  const { phase, step = 0, stepStartedAt, approved } = rollout;
  const steps = spec.rollout?.steps ?? [];
  if (!stepping.includes(phase) || steps.length === 0) return undefined;
  // An edit may have left fewer of them.
  const index = Math.min(step, steps.length - 1);
  const found = steps[index];
  const place = `${index + 1} of ${steps.length}`;
  if (!now || !found) return place;
  const approval = found.approval && !approved ? ', then approval' : '';
  if (stepStartedAt === undefined) return `${place}, not begun${approval}`;
  const leftMs = Date.parse(stepStartedAt) + (parseDuration(found.hold) ?? 0) - now.getTime();
  const left = leftMs > 0 ? `${formatSpan(leftMs)} left of ${found.hold}` : `its hold of ${found.hold} is over`;
  return `${place}, ${left}${approval}`;
}

/** `45s`, `3m12s`, `1h05m`. What has begun counts: 0.2 s are 1s. */
export function formatSpan(ms: number): string {
  const seconds = Math.max(0, Math.ceil(ms / 1000));
  const two = (value: number) => String(value).padStart(2, '0');
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m${two(seconds % 60)}s`;
  return `${Math.floor(seconds / 3600)}h${two(Math.floor((seconds % 3600) / 60))}m`;
}

function formatLastRollback(last: NonNullable<Status['lastRollback']>, now: Date): string {
  const { version, gate, observed, limit, time } = last;
  const counted = observed === undefined ? '' : `, ${percent(observed)}`;
  const held = limit === undefined ? '' : ` of at most ${percent(limit)}`;
  return `last rollback: ${version} went back ${formatAge(time, now)} ago: ${gate}${counted}${held}`;
}
