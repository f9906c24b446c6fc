import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { routingFiles, type SignedRoutingTable } from '../../../api/contract/routing-table.ts';
import type { Resource } from '../../../api/v1alpha1/resource.ts';
import type { ObservedRouting, RoutingPlan } from '../../plan/units.ts';
import { RoutingDesk } from '../routing/desk.ts';
import type { AskSteps } from '../routing/report.ts';
import { newSigningKey, signerOf } from '../routing/signing.ts';
import { tableOf } from '../routing/table.ts';
import type { LocalPeer } from './generation.ts';

interface LocalRoutingOptions {
  readonly stateDir: string;
  readonly note: (text: string) => void;
  /** What is known of the tables of an owner's processes has changed. */
  readonly changed: (owner: string) => void;
  readonly askSteps: AskSteps;
}

interface State {
  signed: SignedRoutingTable | undefined;
  busy: boolean;
  again: boolean;
}

/** Routing tables of a local run: in a folder an owner, and told to its processes. Keys are made anew for each run. */
export class LocalRouting {
  readonly #options: LocalRoutingOptions;
  readonly #desk: RoutingDesk;
  readonly #states = new Map<string, State>();

  constructor(options: LocalRoutingOptions) {
    const signer = signerOf(newSigningKey());
    this.#options = options;
    const { note: log, askSteps } = options;
    this.#desk = new RoutingDesk({ signer: async () => signer, now: () => Date.now(), log, askSteps });
  }

  /** Folder of an owner, named in the configuration of its processes. */
  folder(owner: string): string {
    return join(this.#options.stateDir, `routing-${owner.replaceAll('/', '_')}`);
  }

  /** Before its first process is started. */
  async prepare(owner: string): Promise<void> {
    if (this.#states.has(owner)) return;
    this.#states.set(owner, { signed: undefined, busy: false, again: false });
    await this.#write(owner, routingFiles.keys, JSON.stringify(await this.#desk.keys()));
  }

  /**
   * Tells the processes of an owner who answers what. Never rejects. While it is at it, it does not begin anew; it looks again
   * when it is done.
   *
   * @param look what is wanted and what runs, as it is then
   */
  async tell(
    owner: string,
    look: () => { resource: string; plan: RoutingPlan; peers: readonly LocalPeer[] } | undefined,
  ): Promise<void> {
    const state = this.#states.get(owner);
    if (!state) return;
    state.again = state.busy;
    if (state.busy) return;
    state.busy = true;
    try {
      do {
        state.again = false;
        const found = look();
        if (found) await this.#tellAll(owner, state, found);
      } while (state.again);
    } catch (error) {
      this.#options.note(`${owner}: its routing table could not be written: ${String(error)}`);
    } finally {
      state.busy = false;
    }
  }

  async #tellAll(
    owner: string,
    state: State,
    { resource, plan, peers }: { resource: string; plan: RoutingPlan; peers: readonly LocalPeer[] },
  ): Promise<void> {
    const table = tableOf(resource, plan, peers, state.signed?.table);
    if (table !== state.signed?.table) {
      state.signed = await this.#desk.sign(table);
      await this.#write(owner, routingFiles.table, JSON.stringify(state.signed));
    }
    const taken = await this.#desk.tell(owner, state.signed, peers, () => this.#options.changed(owner));
    for (const peer of peers) {
      const routing = taken.get(peer.admin);
      if (routing) peer.took(routing);
    }
    if (taken.size > 0) this.#options.changed(owner);
  }

  /** @param serving the processes that share requests out */
  async observe(
    owner: string,
    resource: Resource | undefined,
    serving: readonly LocalPeer[],
  ): Promise<ObservedRouting | undefined> {
    if (this.#states.get(owner)?.signed === undefined) return undefined;
    const ready = serving.filter(({ isReady }) => isReady);
    const traffic = await this.#desk.traffic(
      owner,
      resource,
      ready.map(({ admin }) => admin),
    );
    return { acknowledged: ready.map(({ routing }) => routing?.candidate), ...(traffic && { traffic }) };
  }

  async forget(owner: string): Promise<void> {
    this.#states.delete(owner);
    this.#desk.forget(owner);
    await rm(this.folder(owner), { recursive: true, force: true });
  }

  async close(): Promise<void> {
    this.#desk.close();
    await Promise.all([...this.#states.keys()].map((owner) => this.forget(owner)));
  }

  async #write(owner: string, name: string, text: string): Promise<void> {
    const folder = this.folder(owner);
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await writeFile(join(folder, `${name}.tmp`), text, { mode: 0o600 });
    await rename(join(folder, `${name}.tmp`), join(folder, name));
  }
}
