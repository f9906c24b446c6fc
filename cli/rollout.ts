import { setTimeout as pause } from 'node:timers/promises';
import { Argument, Command, Option } from 'commander';
import { createLogUpdate } from 'log-update';
import { parseDuration } from '../api/duration.ts';
import { LevadaError } from '../api/errors.ts';
import type { ModelDeployment } from '../api/v1alpha1/model-deployment.ts';
import { verbs } from '../operator/plan/rollout/commands.ts';
import { type ClusterFlags, withClusterFlags } from './cluster.ts';
import { exitCodes, print, printJson, printNote } from './output.ts';
import { type Clock, follow, give } from './rollout/follow.ts';
import { formatRollout, rolloutLine } from './rollout/picture.ts';
import { Recorder } from './rollout/recorder.ts';
import { onRollout, type RolloutSource } from './rollout/source.ts';

interface Flags extends ClusterFlags {
  readonly output: 'text' | 'json';
  readonly watch: boolean;
  readonly wait?: string | true;
  readonly for?: string;
}

type Verb = (typeof verbs)[number];

export function rolloutCommand(): Command {
  return withClusterFlags(new Command('rollout'))
    .summary('show how a new version takes over, and say what becomes of it')
    .description(
      'Shows the rollout of a ModelDeployment: weights, steps, gates and what it waits for. With a verb it says what is to become ' +
        'of it, waits until that was acted on, and prints what came of it.',
    )
    .argument('<name>', 'name of the ModelDeployment')
    .addArgument(new Argument('[verb]', 'what to do').choices(verbs))
    .option('-w, --watch', 'go on showing it until it is over or Ctrl-C; in a file, a line at each change', false)
    .option('--wait [duration]', 'wait until it is over, e.g. 30m at most (default: as long as it takes)')
    .option('--for <version>', 'with --wait or --watch: until this version is the wanted one, and that is over')
    .addOption(new Option('-o, --output <format>', 'how to print').choices(['text', 'json']).default('text'))
    .addHelpText(
      'after',
      `
promote  to the end, past the steps that are left     pause   stay at this weight; gates go on
abort    back to the version before                   resume  on, after a pause, an approval or a failure

On a cluster (--context, --kubeconfig) a verb is an annotation that you set, so you need the right to patch modeldeployments.

Example:
  levada rollout iris --watch
  levada rollout iris promote
  levada rollout iris --wait 2h --for v2 --context production -n shop

Exit codes: 0 printed or done; with --wait the wanted version serves, or abort was done. 1 refused, nothing of that name, no
answer in 30 s; with --wait it went back, or time was over. 2 wrong usage.`,
    )
    .action(act);
}

async function act(name: string, verb: Verb | undefined, flags: Flags): Promise<void> {
  const waitMs = waitOf(flags);
  const asJson = flags.output === 'json';
  if (asJson && flags.watch) throw new LevadaError('Usage', { detail: '--watch prints text; -o json is for one look' });
  await onRollout(flags, name, async (source) => {
    if (verb && !(await told(source, verb, asJson))) {
      process.exitCode = exitCodes.no;
      return;
    }
    const isFollowed = flags.watch || flags.wait !== undefined;
    if (isFollowed) await followed(source, verb, flags, waitMs);
    // What a verb came to, and what was watched, is on the screen.
    const isShown = flags.watch || (verb !== undefined && flags.wait === undefined);
    if (asJson || !isShown) show(await source.look(), asJson);
  });
}

function show(resource: ModelDeployment, asJson: boolean): void {
  const { rollout, lastRollback } = resource.status ?? {};
  if (asJson) printJson({ rollout, lastRollback });
  else print(formatRollout(resource, new Date(), undefined, process.stdout.columns));
}

/** @returns whether it was done */
async function told(source: RolloutSource, verb: Verb, asJson: boolean): Promise<boolean> {
  const { done, message } = await give(source, verb, clockOf(new AbortController().signal));
  if (done && !asJson) print(message);
  else printNote(message);
  return done;
}

/** Follows it to its end, and sets the exit code where somebody waits for that. */
async function followed(
  source: RolloutSource,
  verb: Verb | undefined,
  { watch, wait, for: version }: Flags,
  timeoutMs: number | undefined,
): Promise<void> {
  const ended = new AbortController();
  // The second time it does not wait for an API server that is silent. Who only waits is ended by Ctrl-C as any program.
  const end = () => (ended.signal.aborted ? process.exit(exitCodes.no) : ended.abort());
  if (watch) process.on('SIGINT', end);
  const screen = watch ? watcher(process.stdout) : progress();
  let last: ModelDeployment | undefined;
  try {
    const found = await follow(source, {
      clock: clockOf(ended.signal),
      show(resource) {
        last = resource;
        screen.show(resource);
      },
      note: printNote,
      timeoutMs,
      ...(version !== undefined && { version }),
    });
    screen.close();
    if (wait === undefined) return;
    const isAborted = verb === 'abort' && last?.status?.rollout?.phase === 'Aborted';
    process.exitCode = found?.serves || isAborted ? exitCodes.ok : exitCodes.no;
    if (found) printNote(found.message);
    else
      printNote(
        `it is not over${typeof wait === 'string' ? ` within ${wait}` : ''}${last ? `: ${rolloutLine(last)}` : ''}`,
      );
  } finally {
    screen.close();
    process.off('SIGINT', end);
  }
}

const clockOf = (signal: AbortSignal): Clock => ({
  now: () => new Date(),
  pause: () => pause(1_000, undefined, { signal }).catch(() => {}),
  get isEnded() {
    return signal.aborted;
  },
});

interface Screen {
  show(resource: ModelDeployment): void;
  close(): void;
}

/** One picture that is drawn anew on a terminal, a line at each change elsewhere. */
export function watcher(stdout: NodeJS.WriteStream, now: () => Date = () => new Date()): Screen {
  if (!stdout.isTTY) return lines((text) => void stdout.write(`${text}\n`), now);
  const update = createLogUpdate(stdout);
  const recorder = new Recorder();
  let isOpen = true;
  return {
    show: (resource) => update(formatRollout(resource, now(), recorder.add(resource), stdout.columns)),
    close() {
      if (isOpen) update.done();
      isOpen = false;
    },
  };
}

const progress = (): Screen => lines(printNote, () => new Date());

function lines(write: (text: string) => void, now: () => Date): Screen {
  let said: string | undefined;
  return {
    show(resource) {
      const line = rolloutLine(resource);
      if (line !== said) write(`${now().toISOString().slice(11, 19)} ${line}`);
      said = line;
    },
    close() {},
  };
}

/** @throws LevadaError Usage */
function waitOf({ wait, watch, for: version }: Flags): number | undefined {
  if (version !== undefined && wait === undefined && !watch) {
    throw new LevadaError('Usage', { detail: '--for belongs to --wait and --watch' });
  }
  if (typeof wait !== 'string') return undefined;
  const ms = parseDuration(wait);
  if (ms !== undefined && ms > 0) return ms;
  throw new LevadaError('Usage', { detail: `--wait: found ${wait}; allowed: a duration such as 90s, 30m or 2h` });
}
