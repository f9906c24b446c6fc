import { Argument, Command, Option } from 'commander';
import { namespacedName } from '../api/contract/names.ts';
import { LevadaError } from '../api/errors.ts';
import { compileExpression } from '../api/language/expression.ts';
import type { DeadLetter, DeadLetterFilter } from '../runtime/pipeline/dead-letters.ts';
import { type ClusterFlags, isCluster, withClusterFlags } from './cluster.ts';
import { type DeadLetterDesk, replayAtRate } from './dead-letter-desk.ts';
import { findResource } from './get.ts';
import { askRun, localResources } from './local-run.ts';
import { counted, exitCodes, print, printJson, printNote } from './output.ts';
import { formatAge, formatTable } from './table.ts';
import type { LiveStep } from './up/admin.ts';

interface Flags extends ClusterFlags {
  brokerSecret?: string;
  step?: string;
  reason?: string;
  type?: string;
  where?: string;
  rate?: string;
  to?: string;
  dryRun: boolean;
  all: boolean;
  limit: string;
  output: 'table' | 'json';
}

const verbs = ['ls', 'show', 'replay', 'drop'] as const;
type Verb = (typeof verbs)[number];

export function dlqCommand(): Command {
  return withClusterFlags(new Command('dlq'))
    .summary('look at dead letters, send them again, drop them')
    .description('Messages that a step has given up, with the reason, the step, the attempt and the error.')
    .argument('<name>', 'name of the EventPipeline')
    .addArgument(new Argument('<verb>', 'what to do').choices(verbs))
    .argument('[id...]', 'ids of events; those of `ls`')
    .option('--step <step>', 'only those of this step')
    .option('--reason <code>', 'only those with this reason')
    .option('--type <type>', 'only events of this type')
    .option('--where <expression>', 'only those whose data it is true for, e.g. "total_amount > 100"')
    .option('--rate <count>', 'replay at most so many a second')
    .option('--to <step>', 'replay into the queue of this step instead')
    .option('--dry-run', 'replay and drop: say how many match, and do nothing', false)
    .option('--all', 'replay or drop all that match, without ids', false)
    .option('--broker-secret <name>', "on a cluster: Secret of the operator's broker, where the pipeline names none")
    .option('--limit <count>', 'list at most so many', '1000')
    .addOption(new Option('-o, --output <format>', 'how to print').choices(['table', 'json']).default('table'))
    .addHelpText(
      'after',
      `
A replay puts the message back into its step's queue, for that step alone, as a first attempt. Ctrl-C ends it between
two messages, and leaves the rest where it is.

On a cluster (--context, --kubeconfig) the broker itself is asked, as its Secret says and with your rights: to get eventpipelines and
secrets, and, where the broker is a Service of the cluster, to get services, list pods and create pods/portforward.

Example:
  levada dlq orders ls
  levada dlq orders show 5f6c0a9e-…
  levada dlq orders replay --all --step inventory --dry-run
  levada dlq orders replay --all --where 'total_amount > 100' --rate 20
  levada dlq orders replay --all --step score --to score-v2
  levada dlq orders ls --context staging -n shop

Exit codes: 0 done, 1 nothing matches or nothing runs, 2 wrong usage.`,
    )
    .action(act);
}

async function act(name: string, verb: Verb, ids: string[], flags: Flags): Promise<void> {
  const filter = filterOf(verb, ids, flags);
  const limit = countOf('--limit', flags.limit);
  await onDesk(name, flags, async (desk) => {
    if (verb === 'ls' || verb === 'show') {
      const letters = await desk.list(filter, limit);
      if (verb === 'show' && letters.length === 0) process.exitCode = exitCodes.no;
      if (flags.output === 'json') printJson(verb === 'ls' ? { items: letters } : letters);
      else print(verb === 'ls' ? tableOf(letters) : letters.map(fullText).join('\n\n') || 'no dead letter matches');
      return;
    }
    const done = verb === 'replay' ? 'replayed' : 'dropped';
    const count = flags.dryRun ? await desk.count(filter) : await carryOut(verb, desk, filter, flags);
    if (count === 0) process.exitCode = exitCodes.no;
    const letters = counted(count, 'dead letter');
    if (flags.output === 'json') printJson({ [flags.dryRun ? 'matching' : done]: count });
    else print(flags.dryRun ? `${letters} would be ${done}` : `${letters} ${done}`);
  });
}

/** @throws LevadaError NoRun, Usage, Cluster…, Broker… */
async function onDesk(name: string, flags: Flags, work: (desk: DeadLetterDesk) => Promise<void>): Promise<void> {
  if (isCluster(flags)) return await (await import('./cluster-dlq.ts')).onClusterDesk(flags, name, work);
  if (flags.namespace !== undefined || flags.brokerSecret !== undefined) {
    const detail = '--namespace and --broker-secret are for a cluster; name one by --context or --kubeconfig';
    throw new LevadaError('Usage', { detail });
  }
  const { resource } = findResource(await localResources(), name);
  if (resource.kind !== 'EventPipeline') {
    throw new LevadaError('Usage', { detail: `${name} is a ${resource.kind}; only an EventPipeline has dead letters` });
  }
  await work(deskOfRun(namespacedName(resource.metadata)));
}

/** Those of a pipeline that runs from this folder: its process is asked. */
const deskOfRun = (pipeline: string): DeadLetterDesk => ({
  list: (filter, limit) => askRun('/deadletters', { pipeline, filter, limit }),
  count: (filter) => askRun('/count', { pipeline, filter }),
  replay: (filter, replay) => askRun('/replay', { pipeline, filter, replay }),
  drop: (filter) => askRun('/drop', { pipeline, filter }),
  async queues() {
    const steps = await askRun<LiveStep[]>('/steps', { pipeline });
    return Object.fromEntries(steps.map(({ name, running, dead }) => [name, { running, dead }]));
  },
});

/** @returns how many */
async function carryOut(
  verb: 'replay' | 'drop',
  desk: DeadLetterDesk,
  filter: DeadLetterFilter,
  { to, rate }: Flags,
): Promise<number> {
  if (verb === 'drop') return await desk.drop(filter);
  const toStep = to === undefined ? {} : { to };
  if (rate === undefined) return await desk.replay(filter, toStep);
  const perSecond = countOf('--rate', rate);
  const said = (count: number, total: number) => printNote(`${count} of ${total} replayed`);
  return await replayAtRate(desk, filter, { perSecond, ...toStep, said });
}

/** @throws LevadaError Usage */
function filterOf(verb: Verb, ids: readonly string[], flags: Flags): DeadLetterFilter {
  const { step, reason, type, where, all, dryRun, rate, to } = flags;
  if (verb !== 'replay' && (rate !== undefined || to !== undefined)) {
    throw new LevadaError('Usage', { detail: `--rate and --to belong to replay; found ${verb}` });
  }
  if (dryRun && verb !== 'replay' && verb !== 'drop') {
    throw new LevadaError('Usage', { detail: `--dry-run belongs to replay and drop; found ${verb}` });
  }
  if (rate !== undefined) countOf('--rate', rate);
  if (where !== undefined) compileExpression(where);
  const needsChoice = verb === 'replay' || verb === 'drop';
  if (verb === 'show' && ids.length === 0) throw new LevadaError('Usage', { detail: 'show takes ids: those of `ls`' });
  if (needsChoice && all === ids.length > 0) {
    throw new LevadaError('Usage', { detail: `${verb} takes ids, or --all, and not both` });
  }
  return {
    ...(step !== undefined && { step }),
    ...(reason !== undefined && { reason }),
    ...(type !== undefined && { type }),
    ...(where !== undefined && { where }),
    ...(ids.length > 0 && { ids }),
  };
}

/** @throws LevadaError Usage */
function countOf(flag: string, text: string): number {
  const count = Number(text);
  if (Number.isInteger(count) && count > 0) return count;
  throw new LevadaError('Usage', { detail: `${flag}: found ${text}; allowed: a whole number from 1` });
}

function tableOf(letters: readonly DeadLetter[]): string {
  if (letters.length === 0) return 'no dead letters';
  const now = new Date();
  const rows = letters.map(({ step, id, type, reason, attempt, time, error }) => {
    return [step, id, type, reason, String(attempt), formatAge(time, now), shortened(error)];
  });
  return formatTable(['STEP', 'ID', 'TYPE', 'REASON', 'ATTEMPT', 'AGE', 'ERROR'], rows);
}

const shortened = (text: string): string => (text.length > 100 ? `${text.slice(0, 99)}…` : text);

function fullText({
  step,
  id,
  source,
  type,
  reason,
  attempt,
  error,
  time,
  traceId,
  data,
  dataBase64,
}: DeadLetter): string {
  const rows = Object.entries({ id, source, type, step, reason, attempt, error, time, traceId });
  const fields = rows.filter(([, value]) => value !== undefined).map(([key, value]) => `${key}:`.padEnd(10) + value);
  const body = dataBase64 === undefined ? JSON.stringify(data, null, 2) : `base64 ${dataBase64}`;
  return [...fields, 'data:', body ?? ''].join('\n');
}
