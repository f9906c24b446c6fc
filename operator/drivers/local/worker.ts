import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { FromWorker, ToWorker, WorkerCounts, WorkerState } from '../../../api/contract/pipeline-worker.ts';
import type { Placement } from '../../../api/contract/placement.ts';
import type { RabbitSettings } from '../../../brokers/rabbitmq/settings.ts';
import type { End } from '../../../runtime/pipeline/ends.ts';
import { eachLine } from './lines.ts';

const main = fileURLToPath(new URL('../../../runtime/worker.ts', import.meta.url));
/** After the process has had its time to drain. */
const killAfterMs = 35_000;
/** A process that lived so long has not died "again" when it dies. */
const stableMs = 10_000;
const firstRestartMs = 100;
const longestRestartMs = 10_000;

export type ToRabbitWorker = ToWorker<RabbitSettings, Placement>;
type Run = Extract<ToRabbitWorker, { type: 'run' }>;

export interface WorkerEvents {
  readonly ended: (end: End) => void;
  readonly missing: () => void;
  readonly changed: () => void;
  readonly log: (part: string, text: string) => void;
  /** It has died, with so many messages sent to wait, by step. */
  readonly died: (delayed: Readonly<Record<string, number>>) => void;
}

/** A process of consumers, started again when it dies. */
export class Worker {
  /** Shown in what is logged. */
  readonly name: string;
  readonly #env: NodeJS.ProcessEnv;
  readonly #events: WorkerEvents;
  #run: Run;
  #child: ChildProcess | undefined;
  #startedAt = 0;
  #ended: Promise<void> = Promise.resolve();
  #states: Readonly<Record<string, WorkerState>> = {};
  /** Of processes before this one. */
  readonly #before = new Map<string, WorkerCounts>();
  #admin: string | undefined;
  #deaths = 0;
  #timer: NodeJS.Timeout | undefined;
  #stopping = false;

  constructor(name: string, run: Run, env: NodeJS.ProcessEnv, events: WorkerEvents) {
    this.name = name;
    this.#run = run;
    this.#env = env;
    this.#events = events;
    this.#start();
  }

  get pipeline(): string {
    return this.#run.topology.pipeline;
  }

  /** Of the process that runs now: milliseconds since the epoch. */
  get startedAt(): number {
    return this.#startedAt;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** URL of /livez, /readyz and /metrics. */
  get admin(): string | undefined {
    return this.#admin;
  }

  /** By step: as the process said last. */
  get states(): Readonly<Record<string, WorkerState>> {
    return this.#states;
  }

  /** Where it was told to take messages from. */
  get placement(): Placement {
    return this.#run.placement;
  }

  counts(step: string): WorkerCounts {
    return added(this.#before.get(step), this.#states[step]?.counts);
  }

  update(run: Run): void {
    this.#run = run;
    this.#send(run);
  }

  tell(message: Extract<ToRabbitWorker, { type: 'placement' | 'names' }>): void {
    this.#run = { ...this.#run, ...message, type: 'run' };
    this.#send(message);
  }

  /** Lets it finish what is in hand. Resolves when it is gone. */
  async drain(): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#timer);
    this.#send({ type: 'drain' });
    const timer = setTimeout(() => this.#child?.kill('SIGKILL'), killAfterMs);
    await this.#ended;
    clearTimeout(timer);
  }

  kill(): void {
    this.#stopping = true;
    clearTimeout(this.#timer);
    this.#child?.kill('SIGKILL');
  }

  #start(): void {
    this.#startedAt = Date.now();
    const startedAt = performance.now();
    const child = spawn(process.execPath, [main], {
      env: this.#env,
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      // Messages hold bytes, which JSON does not.
      serialization: 'advanced',
    });
    this.#child = child;
    for (const stream of [child.stdout, child.stderr]) {
      if (stream) eachLine(stream, (line) => this.#events.log(this.name, line));
    }
    child.on('message', (message: FromWorker<End>) => this.#receive(message));
    this.#ended = new Promise((resolve) => {
      const end = (detail: string) => {
        if (this.#child !== child) return;
        this.#gone(detail, performance.now() - startedAt);
        resolve();
      };
      child.on('error', (error) => end(`it could not be started: ${error.message}`));
      child.on('close', (code, signal) => end(signal ?? `exit code ${code}`));
    });
    this.#send(this.#run);
  }

  #gone(detail: string, livedMs: number): void {
    this.#child = undefined;
    this.#admin = undefined;
    const delayed = Object.entries(this.#states).map(([step, { delayed }]) => [step, delayed] as const);
    for (const step of Object.keys(this.#states)) this.#before.set(step, this.counts(step));
    this.#states = {};
    this.#events.died(Object.fromEntries(delayed));
    this.#events.changed();
    if (this.#stopping) return;
    this.#deaths = livedMs >= stableMs ? 1 : this.#deaths + 1;
    const waitMs = this.#deaths === 1 ? 0 : Math.min(longestRestartMs, firstRestartMs * 2 ** (this.#deaths - 1));
    this.#events.log(
      this.name,
      `its process ended (${detail}); it is started again${waitMs ? ` in ${waitMs} ms` : ''}`,
    );
    this.#timer = setTimeout(() => this.#start(), waitMs);
  }

  #send(message: ToRabbitWorker): void {
    if (!this.#child?.connected) return; // its end is told by an event of its own
    this.#child.send(message, () => {
      // An error means that the process is going away: `close` follows.
    });
  }

  #receive(message: FromWorker<End>): void {
    switch (message.type) {
      case 'state':
        this.#states = message.consumers;
        this.#events.changed();
        return;
      case 'end':
        this.#events.ended(message.end);
        return;
      case 'missing':
        this.#events.missing();
        return;
      case 'admin':
        this.#admin = `http://127.0.0.1:${message.port}`;
        return;
      case 'log':
        this.#events.log(message.part, message.text);
    }
  }
}

const zero: WorkerCounts = { done: 0, skipped: 0, duplicate: 0, retried: 0, dead: 0, rate: 0 };

function added(a: WorkerCounts = zero, b: WorkerCounts = zero): WorkerCounts {
  return {
    done: a.done + b.done,
    skipped: a.skipped + b.skipped,
    duplicate: a.duplicate + b.duplicate,
    retried: a.retried + b.retried,
    dead: a.dead + b.dead,
    rate: b.rate,
  };
}
