import { createServer, type Server } from 'node:http';
import { containerPorts } from '../../../api/contract/names.ts';
import {
  childTypes,
  type LiveDeployment,
  modelDeployments,
  ours,
  pods,
} from '../../../operator/drivers/kubernetes/types.ts';
import type { KubeClient } from '../../../operator/engine/client.ts';
import { pathOf, type StoredObject } from '../../../operator/engine/objects.ts';
import { Reflector } from '../../../operator/engine/reflector.ts';

/** What pods say that they have loaded. */
export const modelSha256 = 'ab'.repeat(32);

/** Whether it has all its pods, by its status. */
export const isSettled = ({ metadata, spec, status = {} }: LiveDeployment): boolean =>
  (status.observedGeneration ?? 0) >= (metadata.generation ?? 0) && status.availableReplicas === (spec.replicas ?? 1);

/** Of Deployments that get their pods at once. */
const atOnce = 16;

/** Of this process alone. */
const address = `127.${64 + (process.pid % 128)}.${Math.floor(process.pid / 128) % 256}.1`;

interface ModelObject extends StoredObject {
  readonly status?: { readonly conditions?: ReadonlyArray<{ readonly type: string; readonly status: string }> };
}

/**
 * In the stead of controllers, scheduler and kubelet: each Deployment has its pod at once, and each pod has loaded its model. One
 * server answers for all pods.
 */
export class StandInNode {
  readonly #client: KubeClient;
  readonly #deployments: Reflector<LiveDeployment>;
  readonly #models: Reflector<ModelObject>;
  readonly #server: Server;
  readonly #waiting = new Map<string, LiveDeployment>();
  readonly #failed: (error: unknown) => void;
  #working = 0;

  /** @param failed told what goes wrong here: then the measurement is none */
  static async start(client: KubeClient, failed: (error: unknown) => void): Promise<StandInNode> {
    const node = new StandInNode(client, failed);
    await new Promise<void>((resolve, reject) => {
      node.#server.once('error', reject);
      node.#server.listen(containerPorts.admin, address, resolve);
    });
    await Promise.all([node.#deployments.start(), node.#models.start()]);
    return node;
  }

  private constructor(client: KubeClient, failed: (error: unknown) => void) {
    this.#client = client;
    this.#failed = failed;
    this.#deployments = new Reflector<LiveDeployment>(client, {
      type: childTypes.Deployment,
      labelSelector: ours,
      failed,
    });
    this.#models = new Reflector<ModelObject>(client, { type: modelDeployments, failed });
    this.#deployments.onChange((now) => {
      if (!now || isSettled(now)) return;
      this.#waiting.set(`${now.metadata.namespace}/${now.metadata.name}`, now);
      this.#work();
    });
    const status = JSON.stringify({ state: 'Loaded', sha256: modelSha256 });
    this.#server = createServer((_, res) => {
      res.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(status) });
      res.end(status);
    });
  }

  /** ModelDeployments of a namespace that are Ready. */
  ready(namespace: string): number {
    let count = 0;
    for (const { metadata, status } of this.#models.values()) {
      if (metadata.namespace !== namespace) continue;
      if (status?.conditions?.some((one) => one.type === 'Ready' && one.status === 'True')) count++;
    }
    return count;
  }

  async close(): Promise<void> {
    await Promise.all([this.#deployments.close(), this.#models.close()]);
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #work(): void {
    while (this.#working < atOnce) {
      const [next] = this.#waiting;
      if (!next) return;
      const [key, deployment] = next;
      this.#waiting.delete(key);
      this.#working++;
      this.#settle(deployment)
        .catch(this.#failed)
        .finally(() => {
          this.#working--;
          this.#work();
        });
    }
  }

  async #settle({ metadata, spec }: LiveDeployment): Promise<void> {
    const { namespace = '', generation = 1 } = metadata;
    const name = `${metadata.name}-${generation}`;
    const pod = { metadata: { ...spec.template.metadata, namespace, name }, spec: spec.template.spec };
    await this.#client.apply(pods, pod as StoredObject, { fieldManager: 'node' });
    const conditions = [{ type: 'Ready', status: 'True' }];
    const status = { phase: 'Running', podIP: address, podIPs: [{ ip: address }], conditions };
    await this.#patchStatus(pathOf(pods, { namespace, name, subresource: 'status' }), status);
    const replicas = spec.replicas ?? 1;
    await this.#patchStatus(pathOf(childTypes.Deployment, { namespace, name: metadata.name, subresource: 'status' }), {
      observedGeneration: generation,
      ...{ replicas, updatedReplicas: replicas, readyReplicas: replicas, availableReplicas: replicas },
    });
  }

  async #patchStatus(path: string, status: object): Promise<void> {
    await this.#client.call({
      method: 'PATCH',
      path,
      body: { status },
      contentType: 'application/strategic-merge-patch+json',
    });
  }
}
