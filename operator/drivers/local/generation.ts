import { randomUUID } from 'node:crypto';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { ModelServerConfig, ModelServerStatus } from '../../../api/contract/model-server.ts';
import type { RoutingStatus } from '../../../api/contract/routing-table.ts';
import { errorCodeOf, errorMessage, messageOf } from '../../../api/errors.ts';
import type { ObservedUnit, Unit } from '../../plan/units.ts';
import type { Told } from '../routing/desk.ts';
import type { Peer } from '../routing/table.ts';
import { RuntimeProcess } from './process.ts';
import type { BoundSocket } from './sockets.ts';

/** A process that was ready this long has not crashed "again" when it dies. */
const stableMs = 10_000;
/** First and longest pause before a model that could not be fetched is fetched again. */
const fetchAgainMs = { first: 5_000, longest: 300_000 };
/** Deaths in a row after which the unit is said to have failed. */
const crashesToFail = 3;

export interface GenerationOptions {
  /** Where configuration files go. */
  readonly stateDir: string;
  /** Path of the model that a unit's source says, once it is here. */
  readonly fetch: (config: Unit['config'], signal: AbortSignal) => Promise<string>;
  /** A path inside the pod → the path here. */
  readonly mapPath: (path: string) => string;
  /** Where its processes find the keys of routing tables, and the table to begin with. */
  readonly routingFolder: string;
  readonly env: NodeJS.ProcessEnv;
  readonly log: (unit: string, line: string) => void;
  readonly changed: () => void;
}

/** A process as routing tables see it. */
export interface LocalPeer extends Peer, Told {
  readonly isReady: boolean;
  /** It has taken a table. */
  took(routing: RoutingStatus): void;
}

interface Slot {
  process: RuntimeProcess | undefined;
  status: ModelServerStatus;
  crashes: number;
  loadedAt: number;
  lastExit: string;
  adminPort: number | undefined;
  internalPort: number | undefined;
  /** What it says of its routing table. */
  routing: RoutingStatus | undefined;
  readonly listening: Set<string>;
  timer: NodeJS.Timeout | undefined;
}

/** The processes of one unit as it was applied once. An edit makes a new generation, which replaces this one when it is ready. */
export class Generation {
  unit: Unit;
  config: ModelServerConfig;
  readonly #options: GenerationOptions;
  readonly #sockets = new Map<string, BoundSocket>();
  readonly #slots: Slot[];
  readonly #file: string;
  #written: Promise<void> | undefined;
  #ended: Promise<void> | undefined;
  readonly #ending = new AbortController();
  /** Where a source was fetched to. */
  #fetched: string | undefined;
  #fetchFailures = 0;
  /** Something has changed while it was being fetched. */
  #fetchAnew = false;
  #fetchAgain: NodeJS.Timeout | undefined;

  constructor(unit: Unit, replicas: number, options: GenerationOptions) {
    this.unit = unit;
    this.config = localConfig(unit, options, undefined);
    this.#options = options;
    this.#file = join(options.stateDir, `${unit.name}-${randomUUID()}.json`);
    this.#slots = Array.from({ length: replicas }, emptySlot);
    for (const slot of this.#slots) this.#start(slot, 0);
  }

  get ready(): number {
    return this.#slots.filter(({ status }) => status.state === 'Loaded').length;
  }

  get allReady(): boolean {
    return this.ready === this.#slots.length;
  }

  /** URLs of the admin ports, for metrics. */
  get admin(): string[] {
    return this.#slots.flatMap(({ adminPort }) => (adminPort === undefined ? [] : [`http://127.0.0.1:${adminPort}`]));
  }

  /** What shares requests out, or answers those that are shared out. */
  get peers(): LocalPeer[] {
    return this.#slots.flatMap((slot) => {
      const { adminPort, internalPort, status } = slot;
      if (adminPort === undefined) return [];
      const isReady = status.state === 'Loaded' && internalPort !== undefined;
      return {
        version: this.unit.version,
        name: String(slot.process?.pid ?? ''),
        ...(isReady && { address: `tcp://127.0.0.1:${internalPort}` }),
        admin: `http://127.0.0.1:${adminPort}`,
        isReady: status.state === 'Loaded',
        routing: slot.routing,
        took: (routing: RoutingStatus) => {
          slot.routing = routing;
        },
      };
    });
  }

  /** Worst first: a failure anywhere is the state. */
  observe(): Pick<ObservedUnit, 'state' | 'sha256' | 'failure'> {
    const crashed = this.#slots.find(({ crashes, status }) => crashes >= crashesToFail && status.state !== 'Loaded');
    if (crashed) return { state: 'Failed', failure: this.#crash(crashed) };
    const slot =
      this.#slots.find(({ status }) => status.state === 'Failed') ??
      this.#slots.find(({ status }) => status.state === 'Loading') ??
      this.#slots[0];
    return slot?.status ?? { state: 'Loading' };
  }

  /** Whether `unit` asks for just these processes. A digest that has become known asks for no new ones. */
  runs(unit: Unit, replicas: number): boolean {
    const asked = ({ config: { resolvedSha256: _, ...config } }: Unit) => config;
    return replicas === this.#slots.length && isDeepStrictEqual(asked(unit), asked(this.unit));
  }

  /** Accepts connections on `socket`, in every process, also in those that are started later. */
  attach(name: string, socket: BoundSocket): void {
    if (this.#sockets.has(name)) return;
    this.#sockets.set(name, socket);
    for (const { process } of this.#slots) process?.listen(name, socket);
  }

  detach(name: string): void {
    if (!this.#sockets.delete(name)) return;
    for (const { process, listening } of this.#slots) {
      listening.delete(name);
      process?.release(name);
    }
  }

  /** Whether every process accepts connections on that socket. */
  isListening(name: string): boolean {
    return this.#slots.every(({ listening }) => listening.has(name));
  }

  /**
   * For processes that start later: what the version was resolved to is known now, or a mount leads elsewhere.
   * Those that run go on.
   */
  update(unit: Unit): void {
    const config = localConfig(unit, this.#options, this.#fetched);
    if (isDeepStrictEqual([this.unit, this.config], [unit, config])) return;
    this.unit = unit;
    this.config = config;
    if (this.isToFetch) return; // written when that is done
    const write = () => this.#write();
    this.#written = (this.#written ?? Promise.resolve()).then(write, write);
    this.#written.catch(() => {
      // The next process that starts says it.
    });
  }

  /** Whether its model is not here yet. */
  get isToFetch(): boolean {
    return this.unit.config.source !== undefined && this.#fetched === undefined;
  }

  /** Starts anew what has failed: its file is another one now, or its Secret. */
  retry(): void {
    if (!this.isToFetch) {
      this.#retrySlots();
      return;
    }
    this.#fetchFailures = 0;
    this.#fetchAnew = true;
    this.#fetchNow();
  }

  #retrySlots(): void {
    for (const slot of this.#slots) {
      if (slot.status.state !== 'Failed' && slot.crashes < crashesToFail) continue;
      slot.crashes = 0;
      this.#replace(slot);
    }
  }

  /** Ends all processes politely. Resolves when they are gone. */
  end(): Promise<void> {
    this.#ended ??= (async () => {
      for (const { timer } of this.#slots) clearTimeout(timer);
      clearTimeout(this.#fetchAgain);
      this.#ending.abort(new Error('the unit has ended'));
      await this.#written?.catch(() => {});
      await Promise.all(this.#slots.map(({ process }) => process?.drain()));
      await rm(this.#file, { force: true });
    })();
    return this.#ended;
  }

  kill(): void {
    for (const { process } of this.#slots) process?.kill();
  }

  #start(slot: Slot, loadAfterMs: number): void {
    this.#written ??= this.#prepare();
    this.#written.then(
      () => {
        if (this.#ended !== undefined) return;
        this.#spawn(slot, loadAfterMs);
      },
      (error: unknown) => {
        if (this.#ended !== undefined) return;
        const code = errorCodeOf(error) ?? 'InternalError';
        slot.status = { state: 'Failed', failure: { code, message: messageOf(error) } };
        this.#options.changed();
      },
    );
  }

  async #prepare(): Promise<void> {
    try {
      if (this.isToFetch) this.#fetched = await this.#options.fetch(this.unit.config, this.#ending.signal);
    } catch (error) {
      this.#fetchFailures++;
      const { first, longest } = fetchAgainMs;
      const pauseMs = this.#fetchAnew ? 0 : Math.min(longest, first * 2 ** (this.#fetchFailures - 1));
      if (this.#ended === undefined) this.#fetchAgain = setTimeout(() => this.#fetchNow(), pauseMs);
      throw error;
    }
    this.config = localConfig(this.unit, this.#options, this.#fetched);
    await this.#write();
  }

  /** Does nothing while it is being fetched. */
  #fetchNow(): void {
    if (this.#ended !== undefined || this.#slots.some(({ status }) => status.state === 'Loading')) return;
    clearTimeout(this.#fetchAgain);
    this.#fetchAnew = false;
    this.#written = undefined;
    for (const slot of this.#slots) {
      slot.status = { state: 'Loading' };
      this.#start(slot, 0);
    }
  }

  async #write(): Promise<void> {
    await mkdir(this.#options.stateDir, { recursive: true, mode: 0o700 });
    // Whole or not at all: a process may be reading it.
    await writeFile(`${this.#file}.tmp`, JSON.stringify(this.config), { mode: 0o600 });
    await rename(`${this.#file}.tmp`, this.#file);
  }

  #spawn(slot: Slot, loadAfterMs: number): void {
    const { log, env, changed } = this.#options;
    const child: RuntimeProcess = new RuntimeProcess(this.#file, loadAfterMs, env, {
      status: (status) => {
        if (slot.process !== child) return;
        slot.status = status;
        if (status.state === 'Loaded') slot.loadedAt = performance.now();
        changed();
      },
      admin: (port) => {
        slot.adminPort = port;
        changed();
      },
      internal: (port) => {
        slot.internalPort = port;
        changed();
      },
      listening: (name) => {
        if (slot.process !== child || !this.#sockets.has(name)) return;
        slot.listening.add(name);
        changed();
      },
      line: (line) => log(this.unit.name, line),
      exit: (detail) => {
        if (slot.process === child) this.#died(slot, detail);
      },
    });
    slot.process = child;
    for (const [name, socket] of this.#sockets) child.listen(name, socket);
  }

  #died(slot: Slot, detail: string): void {
    const wasStable = slot.status.state === 'Loaded' && performance.now() - slot.loadedAt > stableMs;
    Object.assign(slot, { ...emptySlot(), crashes: (wasStable ? 0 : slot.crashes) + 1, lastExit: detail });
    if (this.#ended !== undefined) return;
    this.#options.log(this.unit.name, `the process died (${detail}); it is started again`);
    // It listens again soon, so that callers get an answer; a model that kills it is loaded later and later.
    slot.timer = setTimeout(
      () => this.#start(slot, loadDelayMs(slot.crashes)),
      Math.min(1_000, 50 * 2 ** slot.crashes),
    );
    this.#options.changed();
  }

  /** A failed process still answers health checks; the new one listens before the old one goes. */
  #replace(slot: Slot): void {
    const old = slot.process;
    clearTimeout(slot.timer);
    Object.assign(slot, emptySlot());
    this.#start(slot, 0);
    void old?.drain();
  }

  #crash({ crashes, lastExit }: Slot): { code: string; message: string } {
    const next = `in ${loadDelayMs(crashes) / 1_000} s`;
    const message = errorMessage('ModelCrashed', { unit: this.unit.name, detail: lastExit, count: crashes, next });
    return { code: 'ModelCrashed', message };
  }
}

function localConfig(
  { config }: Unit,
  { mapPath, routingFolder }: GenerationOptions,
  fetched: string | undefined,
): ModelServerConfig {
  const { path, classNamesPath } = config;
  return {
    ...config,
    path: fetched ?? mapPath(path),
    ...(classNamesPath !== undefined && { classNamesPath: mapPath(classNamesPath) }),
    ...(config.routing && { routing: { ...config.routing, folder: routingFolder } }),
    listen: { host: '127.0.0.1', serving: 0, admin: 0, internal: 0 },
  };
}

const emptySlot = (): Slot => ({
  process: undefined,
  status: { state: 'Loading' },
  crashes: 0,
  loadedAt: 0,
  lastExit: '',
  adminPort: undefined,
  internalPort: undefined,
  routing: undefined,
  listening: new Set(),
  timer: undefined,
});

/** 0, 0, 1 s, 2 s, 4 s … 60 s after the 1st, 2nd, 3rd … death in a row. */
const loadDelayMs = (crashes: number): number =>
  crashes < crashesToFail ? 0 : Math.min(60_000, 1_000 * 2 ** (crashes - crashesToFail));
