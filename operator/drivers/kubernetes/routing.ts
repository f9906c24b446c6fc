import { containerPorts, placeOf } from '../../../api/contract/names.ts';
import type { RoutingStatus, RoutingTable, SignedRoutingTable } from '../../../api/contract/routing-table.ts';
import type { Resource } from '../../../api/v1alpha1/resource.ts';
import { versionLabel } from '../../objects/labels.ts';
import type { ObservedRouting, RoutingPlan } from '../../plan/units.ts';
import { RoutingDesk, type Told } from '../routing/desk.ts';
import type { AskSteps } from '../routing/report.ts';
import type { Signer } from '../routing/signing.ts';
import { type Peer, tableOf } from '../routing/table.ts';
import { hostOf, isGoing, isPodReady } from './failures.ts';
import type { ModelPodStatus } from './model-driver.ts';
import type { LivePod } from './types.ts';

/** A pod as routing tables see it. */
export interface ClusterPeer extends Peer, Told {
  readonly uid: string;
  readonly isReady: boolean;
}

interface ClusterRoutingOptions {
  readonly signer: () => Promise<Signer>;
  readonly log: (text: string) => void;
  /** It is to be looked at again. */
  readonly changed: (namespace: string, name: string) => void;
  readonly askSteps: AskSteps;
  /** What a pod says now that it has been told: asked once more it might not answer. */
  readonly took: (uid: string, routing: RoutingStatus) => void;
}

/** What is signed, and the keys by which pods see that. */
interface Signed {
  readonly signed: SignedRoutingTable;
  readonly keys: readonly string[];
}

interface Look {
  readonly owner: string;
  readonly resource: Resource;
  /** The table that was made last; absent: none. */
  readonly table: RoutingTable | undefined;
  readonly peers: readonly ClusterPeer[];
  /** The version that the Service leads to. */
  readonly serving: string | undefined;
}

/** Routing tables of pods: in a ConfigMap for those that start, and told to those that run. */
export class ClusterRouting {
  readonly #options: ClusterRoutingOptions;
  readonly #desk: RoutingDesk;

  constructor(options: ClusterRoutingOptions) {
    this.#options = options;
    const { signer, log, askSteps } = options;
    this.#desk = new RoutingDesk({ signer, now: () => Date.now(), log, askSteps });
  }

  async observe({ owner, resource, table, peers, serving }: Look): Promise<ObservedRouting | undefined> {
    if (!table) {
      this.forget(owner);
      return undefined;
    }
    const ready = peers.filter(({ isReady, version }) => isReady && version === serving);
    const traffic = await this.#desk.traffic(
      owner,
      resource,
      ready.map(({ admin }) => admin),
    );
    // What a pod has from before it became the serving one is not obeyed by it.
    return { acknowledged: ready.map(({ routing }) => routing?.candidate), ...(traffic && { traffic }) };
  }

  /** @throws LevadaError: the key cannot be had */
  async sign(
    resource: string,
    plan: RoutingPlan,
    peers: readonly ClusterPeer[],
    before: RoutingTable | undefined,
  ): Promise<Signed> {
    const known = peers.flatMap(({ routing }) => routing?.generation ?? []);
    const table = tableOf(resource, plan, peers, before, known);
    return { signed: await this.#desk.sign(table), keys: await this.#desk.keys() };
  }

  /** Never rejects. */
  async tell(owner: string, signed: SignedRoutingTable, peers: readonly ClusterPeer[]): Promise<void> {
    const { namespace, name } = placeOf(owner);
    const taken = await this.#desk.tell(owner, signed, peers, () => this.#options.changed(namespace, name));
    for (const { admin, uid } of peers) {
      const routing = taken.get(admin);
      if (routing) this.#options.took(uid, routing);
    }
  }

  /** It is gone, or has no table: what was counted of it, and who is to be told again, is of no use any more. */
  forget(owner: string): void {
    this.#desk.forget(owner);
  }

  close(): void {
    this.#desk.close();
  }
}

/** `undefined`: it cannot be asked. */
export function peerOf(pod: LivePod, status: ModelPodStatus | undefined): ClusterPeer | undefined {
  const { metadata, status: { podIP } = {} } = pod;
  const version = metadata.labels?.[versionLabel];
  if (podIP === undefined || version === undefined || isGoing(pod)) return undefined;
  const host = hostOf(podIP);
  // The kubelet knows of what has not answered yet.
  const isReady = status ? status.state === 'Loaded' : isPodReady(pod);
  return {
    version,
    uid: metadata.uid ?? '',
    name: metadata.name,
    ...(isReady && { address: `tcp://${host}:${containerPorts.internal}` }),
    admin: `http://${host}:${containerPorts.admin}`,
    isReady,
    routing: status?.routing,
  };
}

/** Whether the candidate of a process gets less by `table` than by the one that it has. */
export function takesBack({ candidate }: RoutingTable, peers: readonly ClusterPeer[]): boolean {
  return peers.some(({ routing }) => {
    const { version, weight = 0 } = routing?.candidate ?? {};
    return weight > (candidate?.version === version ? (candidate?.weight ?? 0) : 0);
  });
}
