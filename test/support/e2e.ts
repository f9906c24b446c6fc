/** What tests on a whole cluster share: kubectl, namespaces, a client inside of the cluster. */
import { execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { beforeEach, inject } from 'vitest';
import type { Condition, ConditionType } from '../../api/v1alpha1/common.ts';
import { helm, kubectlProgram } from '../../hack/cluster.ts';
import { type Asking, type Load, type LoadResult, startLoad } from './load.ts';
import { until } from './wait.ts';

declare module 'vitest' {
  interface ProvidedContext {
    readonly e2e: { readonly kubeconfig: string /** Of `helm install --wait`. */; readonly installSeconds: number };
  }
}

export const imageVersion = 'e2e';
export const operatorNamespace = 'levada-system';

/** A command of Helm for the operator's release. @returns what it prints */
export async function helmed(kubeconfig: string, ...args: string[]): Promise<string> {
  const place = ['--kubeconfig', kubeconfig, '--namespace', operatorNamespace];
  return (await promisify(execFile)(helm, [...args, ...place], { timeout: 300_000 })).stdout;
}

export interface Live {
  readonly metadata: { readonly generation: number };
  readonly status?: {
    readonly observedGeneration?: number;
    readonly conditions?: readonly Condition[];
    readonly stableVersion?: string;
  };
}

export const conditionOf = ({ status }: Live, type: ConditionType): Condition | undefined =>
  status?.conditions?.find((one) => one.type === type);

/** A load that goes on without the API server. */
interface PodLoad {
  /** Requests that have ended so far. */
  count(): Promise<number>;
  stop(): Promise<LoadResult>;
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

  /** Each status of some objects, from now on, as the API server tells of it. @param what as for `get` @returns what ends it */
  watch<T>(what: readonly string[], seen: (status: T) => void): () => void {
    const [program, ...args] = this.#command(['get', ...what, '--watch', '-o', 'jsonpath={.status}{"\\n"}']);
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    createInterface({ input: child.stdout }).on('line', (line) => line !== '' && seen(JSON.parse(line) as T));
    child.on('error', (error) => console.error(error.message)); // then nothing is seen, which fails
    return () => child.kill();
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

  /** Names of what there is of some kinds, with their kinds: `pod/client`. @param more flags, a selector say */
  async names(kinds: string, ...more: string[]): Promise<string[]> {
    const lines = await this.kubectl('get', kinds, '-o', 'name', ...more);
    return lines.split('\n').filter((name) => name !== '');
  }

  /** Of the pods that a selector has. */
  async uids(selector: string): Promise<string[]> {
    return (await this.kubectl('get', 'pods', '-l', selector, '-o', 'jsonpath={.items[*].metadata.uid}')).split(' ');
  }

  /** Changes a part of an object. @param change a merge patch, or the list of a JSON patch */
  async patch(name: string, change: object): Promise<void> {
    const type = Array.isArray(change) ? 'json' : 'merge';
    await this.kubectl('patch', name, `--type=${type}`, '-p', JSON.stringify(change));
  }

  /** What kubectl says against an object that must not be taken. */
  async refuses(object: object): Promise<string> {
    const text = JSON.stringify(object); // of a list kubectl itself would judge the fields
    const said = await this.apply(text).then(
      () => undefined,
      (error: unknown) => String(error),
    );
    if (said === undefined) throw new Error(`taken, and it should not be: ${text}`);
    return said;
  }

  /** What a person would look at first, for a test that has failed. */
  async state(): Promise<string> {
    const statuses = `jsonpath={range .items[*]}{.kind} {.metadata.name}: {.status}{'\\n'}{end}`;
    const looks = [
      this.kubectl('get', 'modeldeployments,eventpipelines', '-o', statuses),
      this.kubectl('get', 'pods', '-o', 'wide'),
      this.kubectl('events', '--types=Warning'),
      this.in(operatorNamespace).kubectl('get', 'pods', '-o', 'wide'),
      this.in(operatorNamespace).kubectl('logs', '--selector=app.kubernetes.io/component=operator', '--tail=40'),
    ];
    return (await Promise.all(looks.map((look) => look.catch(String)))).join('\n');
  }

  /** Waits until a condition has that status and reason, said of what is applied. */
  says(name: string, type: ConditionType, text: string, timeoutMs = 120_000): Promise<Live> {
    let seen = '';
    return until(
      `${name}: ${type} is ${text}`,
      async () => {
        const live = await this.get<Live>(...(name.split('/') as [string, string]));
        const found = conditionOf(live, type);
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

  /** The load client of test/support/load.ts, in that pod. It begins once a node's kube-proxy knows of the Service too: Ready says nothing of that. */
  async load(url: string, how: number | Asking): Promise<Load> {
    const asks = `const until = Date.now() + 30_000;
      const ok = () => fetch('${url}/health').then((res) => res.ok, () => false);
      while (!(await ok())) {
        if (Date.now() > until) throw new Error('no answer within 30 s');
        await new Promise((resolve) => setTimeout(resolve, 50));
      }`;
    await this.kubectl('exec', 'client', '--', 'node', '--input-type=module', '-e', asks);
    const exec = this.#command(['exec', '-i', 'client', '--', 'node', 'test/support/load.ts']);
    return startLoad(url, how, exec);
  }

  /** The same in a pod of its own. */
  async loadPod(url: string, connections: number): Promise<PodLoad> {
    const name = 'load';
    const asking: Asking = { connections };
    const command = ['node', 'test/support/load.ts', url, JSON.stringify(asking)];
    const container = {
      name,
      image: `levada/client:${imageVersion}`,
      command,
      stdin: true,
      securityContext: restricted,
    };
    const spec = { containers: [container], restartPolicy: 'Never', terminationGracePeriodSeconds: 0 };
    await this.apply([{ apiVersion: 'v1', kind: 'Pod', metadata: { name }, spec }]);
    const last = async () => (await this.kubectl('logs', name, '--tail=1')).trim();
    const count = async () => Number(await last());
    await until('the first answers', async () => (await count()) >= connections, { seen: () => name });
    return {
      count,
      stop: async () => {
        await this.kubectl('exec', name, '--', 'node', '-e', "process.kill(1, 'SIGTERM')");
        await this.kubectl('wait', '--for=jsonpath={.status.phase}=Succeeded', `pod/${name}`, '--timeout=60s');
        const result = JSON.parse(await last()) as LoadResult;
        await this.kubectl('delete', 'pod', name);
        return result;
      },
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kubectl('delete', 'namespace', this.name, '--ignore-not-found', '--timeout=120s');
    const volumes = (await this.kubectl('get', 'persistentvolumes', '-o', 'name')).split('\n');
    const own = volumes.filter((name) => name.startsWith(`persistentvolume/${this.name}-`));
    if (own.length > 0) await this.kubectl('delete', ...own);
  }
}

/** Of each test of a file that fails: what there is then. */
export function showOnFailure(namespace: () => Namespace): void {
  beforeEach(({ onTestFailed }) => {
    onTestFailed(async () => console.error(await namespace().state()));
  });
}
