import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ControlPlane, kubeconfigOf } from '../../hack/cluster.ts';
import type { KubeClient } from '../../operator/engine/client.ts';
import { leases } from '../../operator/engine/elector.ts';
import { pathOf } from '../../operator/engine/objects.ts';
import { CountingProxy } from './counting-proxy.ts';
import { root } from './up.ts';

/** The operator as its Deployment would run it, on this machine; killed after a write, it is started again. */
export class OperatorProcess implements AsyncDisposable {
  readonly proxy: CountingProxy;
  readonly #admin: KubeClient;
  readonly #folder: string;
  readonly #killAt: number;
  readonly #again = Promise.withResolvers<void>();
  #child!: ChildProcess;

  /** @param killAt number of the write after which it dies; 0: it does not */
  static async start(plane: ControlPlane, admin: KubeClient, killAt: number): Promise<OperatorProcess> {
    const proxy = await CountingProxy.start(plane);
    const folder = await mkdtemp(join(tmpdir(), 'levada-operator-'));
    const text = JSON.stringify(kubeconfigOf(plane, plane.admin, proxy.url));
    await writeFile(join(folder, 'kubeconfig'), text, { mode: 0o600 });
    const one = new OperatorProcess(proxy, admin, folder, killAt);
    await one.#start();
    return one;
  }

  private constructor(proxy: CountingProxy, admin: KubeClient, folder: string, killAt: number) {
    this.proxy = proxy;
    this.#admin = admin;
    this.#folder = folder;
    this.#killAt = killAt;
    proxy.written = (count) => {
      if (count === killAt) this.#kill().then(this.#again.resolve, this.#again.reject);
    };
  }

  /** Whether it has been killed, and then once it is started again. How many writes there are differs a little from run to run. */
  async wasKilled(): Promise<boolean> {
    if (this.#killAt === 0 || this.proxy.writes < this.#killAt) return false;
    await this.#again.promise;
    return true;
  }

  /** It is not started again. @returns its exit code; `null`: the signal has ended it */
  async end(signal: NodeJS.Signals): Promise<number | null> {
    const child = this.#child;
    this.proxy.written = () => {};
    if (child.exitCode === null && child.signalCode === null) {
      const ended = once(child, 'exit');
      child.kill(signal);
      await ended;
    }
    return child.exitCode;
  }

  async #kill(): Promise<void> {
    await this.end('SIGKILL');
    await this.#start();
  }

  async #start(): Promise<void> {
    await this.#freeLease();
    const args = ['--image', 'levada:test', '--lease', 'default/levada'];
    this.#child = spawn(process.execPath, [join(root, 'operator/main.ts'), ...args], {
      env: { ...process.env, KUBECONFIG: join(this.#folder, 'kubeconfig') },
      stdio: ['ignore', 'ignore', 'inherit'],
    });
  }

  /** As if its time were over. */
  async #freeLease(): Promise<void> {
    const path = pathOf(leases, { namespace: 'default', name: 'levada' });
    const body = { spec: { holderIdentity: '' } };
    await this.#admin.call({ method: 'PATCH', path, body, contentType: 'application/merge-patch+json' });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end('SIGKILL');
    await this.#freeLease();
    await this.proxy[Symbol.asyncDispose]();
    await rm(this.#folder, { recursive: true, force: true });
  }
}
