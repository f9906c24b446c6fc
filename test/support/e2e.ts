/** What tests on a whole cluster share: kubectl, namespaces, a client inside of the cluster. */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { inject } from 'vitest';
import type { Condition } from '../../api/v1alpha1/common.ts';
import { kubectlProgram } from '../../hack/cluster.ts';
import { type Asking, type Load, startLoad } from './load.ts';
import { until } from './wait.ts';

declare module 'vitest' {
  interface ProvidedContext {
    readonly e2e: { readonly kubeconfig: string /** Of `helm install --wait`. */; readonly installSeconds: number };
  }
}

export const imageVersion = 'e2e';
export const operatorNamespace = 'levada-system';

interface Live {
  readonly metadata: { readonly generation: number };
  readonly status?: {
    readonly observedGeneration?: number;
    readonly conditions?: readonly Condition[];
    readonly stableVersion?: string;
  };
}

/** What the `restricted` Pod Security Standard asks of a container. */
const restricted = {
  runAsNonRoot: true,
  allowPrivilegeEscalation: false,
  capabilities: { drop: ['ALL'] },
  seccompProfile: { type: 'RuntimeDefault' },
};

/** kubectl in a namespace of its own, which goes with it. */
export class Namespace implements AsyncDisposable {
  readonly name: string;
  readonly #kubectl: string;

  private constructor(name: string, kubectl: string) {
    this.name = name;
    this.#kubectl = kubectl;
  }

  static async create(): Promise<Namespace> {
    const namespace = new Namespace(`e2e-${randomBytes(4).toString('hex')}`, await kubectlProgram());
    await namespace.kubectl('create', 'namespace', namespace.name);
    return namespace;
  }

  /** The same in another namespace, which stays. */
  in(name: string): Namespace {
    return new Namespace(name, this.#kubectl);
  }

  /** @returns what it prints @throws Error with what it says */
  kubectl(...args: string[]): Promise<string> {
    return this.#run(args, '');
  }

  /** `kubectl apply` of objects, or of a file's text. */
  async apply(objects: string | readonly object[]): Promise<void> {
    const text =
      typeof objects === 'string' ? objects : JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects });
    await this.#run(['apply', '-f', '-'], text);
  }

  /** A POST of JSON through the API server. @param path of a Service's proxy, say */
  post(path: string, body: object): Promise<string> {
    return this.#run(['create', '--raw', path, '-f', '-'], JSON.stringify(body));
  }

  /** The object, as it is now. */
  async get<T>(kind: string, name: string): Promise<T> {
    return JSON.parse(await this.kubectl('get', kind, name, '-o', 'json')) as T;
  }

  #command(args: readonly string[]): [string, ...string[]] {
    return [this.#kubectl, '--kubeconfig', inject('e2e').kubeconfig, '--namespace', this.name, ...args];
  }

  #run(args: readonly string[], input: string): Promise<string> {
    const [program, ...all] = this.#command(args);
    return new Promise((resolve, reject) => {
      const child = spawn(program, all, { stdio: ['pipe', 'pipe', 'pipe'], timeout: 180_000 });
      let [output, errors] = ['', ''];
      child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
      child.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()));
      child.on('error', reject);
      child.on('close', (code) =>
        code === 0 ? resolve(output) : reject(new Error(`kubectl ${args.join(' ')}: ${code}\n${errors}`)),
      );
      child.stdin.on('error', () => {}); // its exit code tells
      child.stdin.end(input);
    });
  }

  /** Waits until a condition has that status and reason, said of what is applied. */
  says(name: string, type: string, text: string, timeoutMs = 120_000): Promise<Live> {
    let seen = '';
    return until(
      `${name}: ${type} is ${text}`,
      async () => {
        const live = await this.get<Live>(...(name.split('/') as [string, string]));
        const found = live.status?.conditions?.find((one) => one.type === type);
        seen = JSON.stringify(live.status);
        const isNow = live.status?.observedGeneration === live.metadata.generation;
        return isNow && `${found?.status} ${found?.reason}` === text && live;
      },
      { timeoutMs, seen: () => seen },
    );
  }

  /** A PersistentVolumeClaim with a folder of the client's image in it, and its volume on the node. */
  async claim(name: string, folder: string): Promise<void> {
    const volume = `${this.name}-${name}`;
    const size = { storage: '1Gi' };
    await this.apply([
      {
        apiVersion: 'v1',
        kind: 'PersistentVolume',
        metadata: { name: volume },
        spec: {
          capacity: size,
          accessModes: ['ReadWriteOnce'],
          persistentVolumeReclaimPolicy: 'Retain',
          storageClassName: '',
          claimRef: { namespace: this.name, name },
          hostPath: { path: `/var/lib/levada-e2e/${volume}`, type: 'DirectoryOrCreate' },
        },
      },
      {
        apiVersion: 'v1',
        kind: 'PersistentVolumeClaim',
        metadata: { name },
        spec: {
          accessModes: ['ReadWriteOnce'],
          storageClassName: '',
          volumeName: volume,
          resources: { requests: size },
        },
      },
      {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: `fill-${name}` },
        spec: {
          restartPolicy: 'Never',
          containers: [
            {
              name: 'fill',
              image: `levada/client:${imageVersion}`,
              command: ['node', '-e', `fs.cpSync('${folder}', '/volume', { recursive: true })`],
              securityContext: { runAsUser: 0 },
              volumeMounts: [{ name: 'volume', mountPath: '/volume' }],
            },
          ],
          volumes: [{ name: 'volume', persistentVolumeClaim: { claimName: name } }],
        },
      },
    ]);
    await this.kubectl('wait', '--for=jsonpath={.status.phase}=Succeeded', `pod/fill-${name}`, '--timeout=120s');
    await this.kubectl('delete', 'pod', `fill-${name}`);
  }

  /** From now on only pods that the `restricted` Pod Security Standard admits. */
  async restrict(): Promise<void> {
    await this.kubectl('label', 'namespace', this.name, 'pod-security.kubernetes.io/enforce=restricted');
  }

  /** Starts the pod that requests come from. */
  async startClient(): Promise<void> {
    const container = { name: 'client', image: `levada/client:${imageVersion}`, securityContext: restricted };
    await this.apply([
      {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: 'client' },
        spec: { containers: [container], terminationGracePeriodSeconds: 0 },
      },
    ]);
    await this.kubectl('wait', '--for=condition=Ready', 'pod/client', '--timeout=120s');
  }

  /** The load client of test/support/load.ts, in that pod. */
  load(url: string, how: number | Asking): Promise<Load> {
    const exec = this.#command(['exec', '-i', 'client', '--', 'node', 'test/support/load.ts']);
    return startLoad(url, how, exec);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kubectl('delete', 'namespace', this.name, '--timeout=120s');
    const volumes = (await this.kubectl('get', 'persistentvolumes', '-o', 'name')).split('\n');
    const own = volumes.filter((name) => name.startsWith(`persistentvolume/${this.name}-`));
    if (own.length > 0) await this.kubectl('delete', ...own);
  }
}
