import { isDeepStrictEqual } from 'node:util';
import type { LocalService } from '../../source/local.ts';
import { type ServiceStatus, type ServiceTiming, Supervised, type SupervisedOptions } from './supervised.ts';

export type { ServiceStatus } from './supervised.ts';

const usualTiming: ServiceTiming = {
  backoff: 100,
  maxBackoff: 10_000,
  stable: 1_000,
  listenWithin: 60_000,
  killAfter: 5_000,
};

export interface LocalServicesOptions
  extends Pick<SupervisedOptions, 'log' | 'note' | 'changed'>,
    Partial<Pick<SupervisedOptions, 'environment'>> {
  readonly timing?: Partial<ServiceTiming>;
}

/**
 * The commands of `services` in levada.local.yaml: each with a loopback port of its own, which it keeps over restarts,
 * and started again whenever it dies.
 */
export class LocalServices {
  readonly #options: SupervisedOptions;
  readonly #services = new Map<string, Supervised>();
  /** Those that are being stopped, by name: the next one of that name waits for the port. */
  readonly #leaving = new Map<string, Promise<void>>();
  readonly #dying = new Set<Supervised>();

  constructor({ timing, environment = process.env, ...options }: LocalServicesOptions) {
    this.#options = { ...options, environment, timing: { ...usualTiming, ...timing }, ports: new Map() };
  }

  /** Starts what is new, restarts what is another one now, stops what is gone. Resolves when the new ones have a port. */
  async apply(services: Readonly<Record<string, LocalService>>): Promise<void> {
    for (const [name, running] of this.#services) {
      const wanted = Object.hasOwn(services, name) ? services[name] : undefined;
      if (!isDeepStrictEqual(running.service, wanted)) this.#remove(name, running);
    }
    const added = Object.entries(services).filter(([name]) => !this.#services.has(name));
    const started = added.map(([name, service]) => {
      const supervised = new Supervised(name, service, this.#leaving.get(name) ?? Promise.resolve(), this.#options);
      this.#services.set(name, supervised);
      return supervised.located;
    });
    await Promise.all(started);
  }

  /** Where a service is, whether or not it listens yet; `undefined` of a name that is none. */
  origin(name: string): URL | undefined {
    const port = this.#options.ports.get(name);
    return port === undefined || !this.#services.has(name) ? undefined : new URL(`http://127.0.0.1:${port}`);
  }

  state(name: string): ServiceStatus | undefined {
    return this.#services.get(name)?.status;
  }

  /** Ends all services politely, and after 5 s otherwise. Resolves when every process is gone. */
  async stop(): Promise<void> {
    for (const [name, running] of this.#services) this.#remove(name, running);
    await Promise.all(this.#leaving.values());
  }

  /** Ends all at once. */
  kill(): void {
    for (const running of [...this.#services.values(), ...this.#dying]) running.kill();
  }

  #remove(name: string, running: Supervised): void {
    this.#services.delete(name);
    this.#dying.add(running);
    const gone = Promise.all([this.#leaving.get(name), running.stop()]).then(() => {
      this.#dying.delete(running);
      if (this.#leaving.get(name) === gone) this.#leaving.delete(name);
    });
    this.#leaving.set(name, gone);
  }
}
