import { isDeepStrictEqual } from 'node:util';
import { errorCodeOf, LevadaError } from '../../../api/errors.ts';
import type { Resource } from '../../../api/v1alpha1/resource.ts';
import { nothing, type Observed, type ObservedUnit, type Unit, type UnitPlan } from '../../plan/units.ts';
import type { Driver } from '../driver.ts';
import type { AskSteps } from '../routing/report.ts';
import { digestNow, signature } from './artifacts.ts';
import { Generation, type GenerationOptions, type LocalPeer } from './generation.ts';
import { LocalRouting } from './routing.ts';
import { type BoundSocket, bindSocket } from './sockets.ts';

export interface LocalOptions extends Omit<GenerationOptions, 'changed' | 'fetch' | 'routingFolder'> {
  /** Fetches the model of a unit of an owner. @returns its path */
  readonly fetch: (owner: string, config: Unit['config'], signal: AbortSignal) => Promise<string>;
  /** Processes of a unit: its `replicas`, or one. */
  readonly useReplicas: boolean;
  /** Port of a service of an owner: one that was asked for, one that it had before, or 0. */
  readonly port: (owner: string, service: string) => { port: number; fixed: boolean };
  /** Milliseconds between two looks at the model files. */
  readonly pollMs: number;
  /** Something a person should know. */
  readonly note: (text: string) => void;
  /** Of pipelines that run here as well. */
  readonly askSteps: AskSteps;
}

interface LocalUnit {
  readonly socket: BoundSocket;
  /** Oldest first. The first one that is ready serves; the last one is what was applied. */
  generations: Generation[];
  signature: string;
  artifactNow: string | undefined;
}

interface LocalFront {
  readonly socket: BoundSocket;
  target: string;
  /** Unit whose processes have confirmed that they accept connections. */
  confirmed: string | undefined;
}

interface OwnerState {
  /** `undefined` while it is being applied, and after that has failed. */
  plan: UnitPlan | undefined;
  readonly units: Map<string, LocalUnit>;
  readonly fronts: Map<string, LocalFront>;
}

/** Runs units as processes of this machine. Listening sockets are this process's own and outlive those that accept on them. */
export class LocalDriver implements Driver {
  readonly #options: LocalOptions;
  readonly #owners = new Map<string, OwnerState>();
  readonly #ending = new Set<Generation>();
  readonly #routing: LocalRouting;
  readonly #poll: NodeJS.Timeout;
  #changed: (owner: string) => void = () => {};
  #polling = false;

  constructor(options: LocalOptions) {
    this.#options = options;
    this.#routing = new LocalRouting({
      stateDir: options.stateDir,
      note: options.note,
      askSteps: options.askSteps,
      changed: (owner) => this.#settle(owner),
    });
    this.#poll = setInterval(() => void this.#lookAtFiles(), options.pollMs);
  }

  watch(changed: (owner: string) => void): void {
    this.#changed = changed;
  }

  async observe(owner: string, resource?: Resource): Promise<Observed> {
    const state = this.#owners.get(owner);
    const routing = await this.#routing.observe(owner, resource, servingPeers(state));
    const units = [...(state?.units ?? [])].map(([name, local]) => [name, observeUnit(local)] as const);
    const fronts = [...(state?.fronts ?? [])].map(([service, { socket, confirmed }]) => {
      const url = `http://127.0.0.1:${socket.port}`;
      return [service, { url, ...(confirmed !== undefined && { target: confirmed }) }] as const;
    });
    return {
      units: Object.fromEntries(units),
      fronts: Object.fromEntries(fronts),
      ...(routing && { routing }),
    };
  }

  /** Ports of services and admin ports of units, for people and for `levada get`. */
  addresses(owner: string): { services: Record<string, number>; admin: Record<string, string[]> } {
    const state = this.#owners.get(owner);
    const named = [...(state?.fronts ?? []), ...(state?.units ?? [])];
    return {
      services: Object.fromEntries(named.map(([name, { socket }]) => [name, socket.port])),
      admin: Object.fromEntries(
        [...(state?.units ?? [])].map(([name, { generations }]) => [name, generations.flatMap(({ admin }) => admin)]),
      ),
    };
  }

  /** @throws LevadaError PortBusy when a port that was asked for cannot be had */
  async apply(owner: string, plan: UnitPlan): Promise<boolean> {
    const before = this.#owners.get(owner);
    if (isDeepStrictEqual(before ? before.plan : nothing, plan)) return false;
    const state: OwnerState = before ?? { plan: undefined, units: new Map(), fronts: new Map() };
    state.plan = undefined;
    this.#owners.set(owner, state);
    if (plan.units.some(({ config }) => config.routing)) await this.#routing.prepare(owner);
    for (const { service, target } of plan.fronts) {
      const front = state.fronts.get(service);
      if (front) front.target = target;
      else state.fronts.set(service, { socket: this.#bind(owner, service), target, confirmed: undefined });
    }
    for (const unit of plan.units) await this.#applyUnit(owner, state, unit);
    state.plan = plan;
    for (const [name, local] of state.units) {
      if (plan.units.some((unit) => unit.name === name)) continue;
      state.units.delete(name);
      for (const generation of local.generations) this.#end(generation);
      local.socket.close();
    }
    for (const [service, { socket }] of state.fronts) {
      if (plan.fronts.some((front) => front.service === service)) continue;
      state.fronts.delete(service);
      socket.close();
    }
    if (plan.units.length === 0) {
      this.#owners.delete(owner);
      await this.#routing.forget(owner);
    }
    this.#settle(owner);
    return true;
  }

  /** Mounts lead elsewhere now: what has failed is tried again there, what starts later takes its model from there. */
  remount(): void {
    for (const { units } of this.#owners.values()) {
      for (const local of units.values()) {
        for (const generation of local.generations) generation.update(generation.unit);
        local.signature = '';
      }
    }
  }

  /** Secrets say something else now: what could not be fetched is fetched again. */
  refetch(): void {
    for (const { units } of this.#owners.values()) {
      for (const { generations } of units.values()) {
        for (const generation of generations) if (generation.isToFetch) generation.retry();
      }
    }
  }

  async close(): Promise<void> {
    clearInterval(this.#poll);
    for (const { units } of this.#owners.values()) {
      for (const { generations } of units.values()) for (const generation of generations) this.#end(generation);
    }
    await Promise.all([...this.#ending].map((generation) => generation.end()));
    for (const { units, fronts } of this.#owners.values()) {
      for (const { socket } of [...units.values(), ...fronts.values()]) socket.close();
    }
    this.#owners.clear();
    await this.#routing.close();
  }

  /** Ends everything at once; what is in hand is lost. */
  kill(): void {
    for (const generation of this.#ending) generation.kill();
    for (const { units } of this.#owners.values()) {
      for (const { generations } of units.values()) for (const generation of generations) generation.kill();
    }
  }

  async #applyUnit(owner: string, state: OwnerState, unit: Unit): Promise<void> {
    const existing = state.units.get(unit.name);
    const newest = existing?.generations.at(-1);
    const replicas = this.#options.useReplicas ? unit.replicas : 1;
    if (newest?.runs(unit, replicas)) return newest.update(unit);
    const socket = existing?.socket ?? this.#bind(owner, unit.name);
    const local = existing ?? { socket, generations: [], signature: '', artifactNow: undefined };
    const generation = new Generation(unit, replicas, {
      ...this.#options,
      routingFolder: this.#routing.folder(owner),
      fetch: (config, signal) => this.#options.fetch(owner, config, signal),
      changed: () => this.#settle(owner),
    });
    // A generation that never became ready has nothing to lose.
    for (const old of local.generations.filter(({ ready }) => ready === 0)) this.#end(old);
    local.generations = [...local.generations.filter(({ ready }) => ready > 0), generation];
    state.units.set(unit.name, local);
    local.signature = await signature(watchedPaths(generation));
  }

  #bind(owner: string, service: string): BoundSocket {
    const { port, fixed } = this.#options.port(owner, service);
    try {
      // The kernel lets a port be bound twice as long as no process listens on it.
      if (this.#ports().includes(port)) {
        throw new LevadaError('PortBusy', { port, service, detail: 'another service has it' });
      }
      return bindSocket(service, port);
    } catch (error) {
      if (fixed || errorCodeOf(error) !== 'PortBusy') throw error;
      const socket = bindSocket(service, 0);
      this.#options.note(`port ${port}, which ${service} had before, is in use: it has ${socket.port} now`);
      return socket;
    }
  }

  #ports(): number[] {
    return [...this.#owners.values()]
      .flatMap(({ units, fronts }) => [...units.values(), ...fronts.values()])
      .map(({ socket }) => socket.port);
  }

  /** Moves sockets to where they belong, as far as processes are ready, and ends what is not needed any more. */
  #settle(owner: string): void {
    const state = this.#owners.get(owner);
    if (state) {
      for (const [name, local] of state.units) this.#settleUnit(name, local);
      for (const [service, front] of state.fronts) this.#settleFront(state, service, front);
      for (const [name, local] of state.units) this.#endReplaced(state, name, local);
      void this.#routing.tell(owner, () => routedOf(this.#owners.get(owner)));
    }
    this.#changed(owner);
  }

  #settleUnit(name: string, local: LocalUnit): void {
    active(local)?.attach(name, local.socket);
  }

  #settleFront(state: OwnerState, service: string, front: LocalFront): void {
    const local = state.units.get(front.target);
    const generation = local && active(local);
    if (!generation) return;
    const before = front.confirmed === front.target ? undefined : state.units.get(front.confirmed ?? '');
    // It was ready when it was chosen, and has died since: what serves goes on.
    if (!generation.allReady && before?.generations.some(({ ready }) => ready > 0)) return;
    generation.attach(service, front.socket);
    if (!generation.isListening(service)) return;
    front.confirmed = front.target;
    for (const { generations } of state.units.values()) {
      for (const other of generations) if (other !== generation) other.detach(service);
    }
  }

  /** Older generations go when the newest accepts connections on every socket that is theirs. */
  #endReplaced(state: OwnerState, name: string, local: LocalUnit): void {
    const newest = local.generations.at(-1);
    if (!newest || local.generations.length === 1 || active(local) !== newest) return;
    const fronts = [...state.fronts].filter(([, { target }]) => target === name).map(([service]) => service);
    if (![name, ...fronts].every((socket) => newest.isListening(socket))) return;
    for (const old of local.generations) if (old !== newest) this.#end(old);
    local.generations = [newest];
  }

  #end(generation: Generation): void {
    this.#ending.add(generation);
    void generation.end().then(() => this.#ending.delete(generation));
  }

  /** A failed unit is tried again when its files change; one that serves goes on, and the change is said. */
  async #lookAtFiles(): Promise<void> {
    if (this.#polling) return;
    this.#polling = true;
    for (const [owner, { units }] of this.#owners) {
      for (const local of units.values()) {
        const newest = local.generations.at(-1);
        if (!newest) continue;
        const now = await signature(watchedPaths(newest));
        // Nobody knows what is loaded while it is being loaded: looked at again.
        if (now === local.signature || newest.observe().state === 'Loading') continue;
        local.signature = now;
        if (newest.observe().state === 'Failed') newest.retry();
        const digest = await digestNow(newest.config.path);
        local.artifactNow = digest === newest.observe().sha256 ? undefined : digest;
        this.#changed(owner);
      }
    }
    this.#polling = false;
  }
}

/** Processes that the Service leads to. */
const servingPeers = (state: OwnerState | undefined): LocalPeer[] =>
  [...(state?.fronts.values() ?? [])].flatMap(({ confirmed }) => {
    const local = state?.units.get(confirmed ?? '');
    return (local && active(local)?.peers) ?? [];
  });

/** What there is to tell the processes of an owner. */
function routedOf(state: OwnerState | undefined) {
  const [unit] = state?.plan?.units ?? [];
  const { routing: plan } = state?.plan ?? {};
  const resource = unit?.config.routing?.resource;
  if (!state || !plan || resource === undefined) return undefined;
  return { resource, plan, peers: [...state.units.values()].flatMap((local) => active(local)?.peers ?? []) };
}

/** The generation that is to serve: the newest if it is ready, or if no other is. */
function active({ generations }: LocalUnit): Generation | undefined {
  const newest = generations.at(-1);
  if (newest?.allReady) return newest;
  return generations.find(({ ready }) => ready > 0) ?? newest;
}

function observeUnit({ generations, artifactNow }: LocalUnit): ObservedUnit {
  const newest = generations.at(-1) as Generation;
  return {
    unit: newest.unit,
    ...newest.observe(),
    ready: generations.reduce((sum, { ready }) => sum + ready, 0),
    ...(artifactNow !== undefined && { artifactNow }),
  };
}

const watchedPaths = ({ config }: Generation): string[] => [
  config.path,
  ...(config.classNamesPath ? [config.classNamesPath] : []),
];
