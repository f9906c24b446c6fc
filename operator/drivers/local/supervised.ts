import { setTimeout as pause } from 'node:timers/promises';
import { errorMessage, messageOf } from '../../../api/errors.ts';
import type { LocalService } from '../../source/local.ts';
import { environmentOf, type FoundCommand, findCommand } from './command.ts';
import { ProcessGroup } from './group.ts';
import { accepts, freePort } from './ports.ts';

export type ServiceState = 'Starting' | 'Ready' | 'Failed';

export interface ServiceStatus {
  readonly state: ServiceState;
  /** A sentence; empty when there is nothing to say. */
  readonly detail: string;
  readonly code?: 'ServiceFailed';
  readonly pid?: number;
}

/** Milliseconds. */
export interface ServiceTiming {
  /** Wait before the first new start; each further one doubles it. */
  readonly backoff: number;
  readonly maxBackoff: number;
  /** A service that was ready this long has not died "again" when it dies. */
  readonly stable: number;
  /** A service that does not listen after this long is said to have failed. */
  readonly listenWithin: number;
  /** Between the polite signal and the other one. */
  readonly killAfter: number;
}

/** Deaths in a row after which a service is said to have failed. */
const deathsToFail = 3;

export interface SupervisedOptions {
  /** Output of the service. */
  readonly log: (name: string, line: string) => void;
  /** Something a person should know. */
  readonly note: (text: string) => void;
  /** State or port are other ones. */
  readonly changed: () => void;
  readonly timing: ServiceTiming;
  /** Of this process; a service gets a part of it. */
  readonly environment: NodeJS.ProcessEnv;
  /** Ports by name, of every service there is or was. */
  readonly ports: Map<string, number>;
}

/** One service, started again whenever it dies. */
export class Supervised {
  readonly service: LocalService;
  readonly #name: string;
  readonly #options: SupervisedOptions;
  readonly #end = new AbortController();
  readonly #located = Promise.withResolvers<void>();
  readonly #running: Promise<void>;
  #group: ProcessGroup | undefined;
  #status: Pick<ServiceStatus, 'state' | 'detail'> = { state: 'Starting', detail: 'being started' };
  #said = '';
  #wasReady = false;
  /** The command never came to listen: its fallback runs. */
  #gaveUp = false;

  /** @param after what holds the port until then */
  constructor(name: string, service: LocalService, after: Promise<void>, options: SupervisedOptions) {
    this.#name = name;
    this.service = service;
    this.#options = options;
    this.#running = after.then(() => this.#run());
  }

  get status(): ServiceStatus {
    const { state, detail } = this.#status;
    const pid = this.#group?.pid;
    return {
      state,
      detail: state === 'Failed' ? errorMessage('ServiceFailed', { service: this.#name, detail }) : detail,
      ...(state === 'Failed' && { code: 'ServiceFailed' }),
      ...(pid !== undefined && { pid }),
    };
  }

  /** Resolves when the port is chosen. */
  get located(): Promise<void> {
    return this.#located.promise;
  }

  /** Resolves when every process of it is gone. */
  async stop(): Promise<void> {
    this.#end.abort();
    await this.#group?.stop(this.#options.timing.killAfter);
    await this.#running;
  }

  kill(): void {
    this.#end.abort();
    this.#group?.kill();
  }

  async #run(): Promise<void> {
    for (let deaths = 0; !this.#end.signal.aborted; ) {
      const life = await this.#live().catch((error: unknown) => ({ detail: messageOf(error), wasStable: false }));
      this.#group = undefined;
      this.#located.resolve();
      if (this.#end.signal.aborted) break;
      deaths = life.wasStable ? 1 : deaths + 1;
      if (this.#fallsBack(life, deaths)) deaths = 0;
      else await this.#pauseAfter(life, deaths);
    }
    this.#located.resolve();
  }

  /** From one start to the death that follows. */
  async #live(): Promise<Life> {
    const port = await this.#choosePort();
    this.#located.resolve();
    const wanted = (this.#gaveUp && this.service.fallback) || this.service;
    const found = await findCommand(wanted, this.#options.environment);
    if (this.#end.signal.aborted) return { detail: 'stopped', wasStable: false };
    if (typeof found === 'string') return { detail: found, wasStable: false, notStarted: true };
    this.#sayOnce(found);
    const { log, timing, environment } = this.#options;
    const group = new ProcessGroup(found, environmentOf(found.env, port, environment), {
      line: (text) => log(this.#name, text),
    });
    this.#group = group;
    // A service that dies again and again stays failed until it is ready.
    if (this.#status.state !== 'Failed') this.#set('Starting', `not listening on port ${port} yet`);
    const over = new AbortController();
    const ready = this.#awaitReady(port, over.signal);
    const detail = await group.exited;
    over.abort();
    const readyAt = await ready;
    return { detail, wasStable: readyAt !== undefined && performance.now() - readyAt >= timing.stable };
  }

  /** When the port accepted its first connection; `undefined` when that never came. */
  async #awaitReady(port: number, over: AbortSignal): Promise<number | undefined> {
    const startedAt = performance.now();
    const { listenWithin } = this.#options.timing;
    for (let waitMs = 50; !over.aborted; waitMs = Math.min(500, waitMs * 1.3)) {
      if ((await accepts(port, over)) && !over.aborted) {
        this.#wasReady = true;
        this.#set('Ready', '');
        return performance.now();
      }
      if (performance.now() - startedAt > listenWithin) {
        this.#set('Failed', `it does not listen on port ${port} (environment variable PORT)`);
      }
      await pause(waitMs, undefined, { signal: over }).catch(() => {});
    }
    return undefined;
  }

  /**
   * A program may be there and of no use: another version than is wanted, or what macOS has in the place of Java. What
   * was ready once is right, and is started again instead.
   */
  #fallsBack({ detail, notStarted }: Life, deaths: number): boolean {
    const { service } = this;
    if (!service.fallback || this.#gaveUp || this.#wasReady || notStarted || deaths < deathsToFail) return false;
    this.#gaveUp = true;
    const [failed, other] = [service, service.fallback].map(({ command }) => `\`${command.join(' ')}\``);
    this.#options.note(
      `service ${this.#name}: ${failed} died ${deaths} times before it listened (${detail}); ${other} takes its place`,
    );
    return true;
  }

  async #pauseAfter({ detail, notStarted = false }: Life, deaths: number): Promise<void> {
    const { timing, note } = this.#options;
    const waitMs = Math.min(timing.maxBackoff, timing.backoff * 2 ** Math.min(30, deaths - 1));
    const again = `started again in ${waitMs / 1_000} s`;
    if (!notStarted) note(`service ${this.#name} died (${detail}); it is ${again}`);
    else if (this.#said !== detail) note(`service ${this.#name} cannot be started: ${detail}`);
    if (notStarted) this.#said = detail;
    const failed = notStarted || deaths >= deathsToFail;
    this.#set(failed ? 'Failed' : 'Starting', notStarted ? detail : `it died (${detail}) and is ${again}`);
    await pause(waitMs, undefined, { signal: this.#end.signal }).catch(() => {});
  }

  async #choosePort(): Promise<number> {
    const { ports, note, changed } = this.#options;
    const before = ports.get(this.#name);
    const port = await freePort(before, new Set(ports.values()));
    if (port === before) return port;
    ports.set(this.#name, port);
    if (before !== undefined)
      note(`service ${this.#name}: port ${before} is in use meanwhile; ${port} takes its place`);
    changed();
    return port;
  }

  /** What a person should know of the command that was found, once. */
  #sayOnce({ insteadOf, args, file }: FoundCommand): void {
    const { note } = this.#options;
    const name = this.#name;
    const said = `${insteadOf ?? ''} ${file}`;
    if (said === this.#said) return;
    this.#said = said;
    const shown = this.service.fallback?.command.join(' ') ?? [file, ...args].join(' ');
    if (insteadOf !== undefined) note(`service ${name}: ${insteadOf}; \`${shown}\` takes its place`);
    if (this.service.note !== undefined) note(`service ${name}: ${this.service.note}`);
  }

  #set(state: ServiceState, detail: string): void {
    if (this.#status.state === state && this.#status.detail === detail) return;
    this.#status = { state, detail };
    this.#options.changed();
  }
}

interface Life {
  /** How it ended. */
  readonly detail: string;
  readonly wasStable: boolean;
  /** No program was found. */
  readonly notStarted?: boolean;
}
