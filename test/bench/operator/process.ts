import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ControlPlane } from '../../../hack/cluster.ts';
import { freePorts } from '../../../hack/free-ports.ts';
import { loadCore, type StartedProcess, start } from '../process.ts';
import { usage } from '../procfs.ts';

const root = join(import.meta.dirname, '../../..');

export interface Figures {
  readonly leads: boolean;
  /** Its copies are whole. */
  readonly isReady: boolean;
  /** Requests that change something; renewals of the Lease, which are the only PUTs, apart. */
  readonly writes: number;
  readonly reconciles: number;
  /** Nothing waits and nothing is under way. */
  readonly isIdle: boolean;
}

/** What Node is told in the chart: how much memory it takes hangs on that. */
function nodeFlags(): string[] {
  const chart = readFileSync(join(root, 'charts/levada/templates/deployment.yaml'), 'utf8');
  const [, flags] = /command: \[node, (.*), operator\/main\.ts\]/.exec(chart) ?? [];
  if (flags === undefined) throw new Error('the chart does not say how the operator is started');
  return flags.split(', ');
}

/** As in a pod of the cluster. */
export function inPod({ ca, port, admin }: ControlPlane): Record<string, string> {
  const folder = mkdtempSync(join(tmpdir(), 'levada-bench-account-'));
  writeFileSync(join(folder, 'ca.crt'), ca);
  writeFileSync(join(folder, 'token'), admin.token, { mode: 0o600 });
  return {
    KUBECONFIG: '',
    LEVADA_SERVICE_ACCOUNT: folder,
    KUBERNETES_SERVICE_HOST: '127.0.0.1',
    KUBERNETES_SERVICE_PORT: String(port),
  };
}

/** An operator in a process of its own, watched through its metrics. */
export class OperatorProcess {
  readonly #started: StartedProcess;
  readonly #url: string;

  /** @param access what tells it where the API server is @param namespaces that it looks after */
  static async start(
    access: Record<string, string>,
    lease: string,
    namespaces: readonly string[],
  ): Promise<OperatorProcess> {
    const [port = 0] = await freePorts(['127.0.0.1']);
    const flags = ['--image', 'levada:bench', '--lease', lease, '--health', `127.0.0.1:${port}`];
    const args = [...nodeFlags(), join(root, 'operator/main.ts'), ...flags];
    for (const name of namespaces) args.push('--namespace', name);
    const folder = mkdtempSync(join(tmpdir(), 'levada-bench-operator-'));
    const started = start(
      {
        command: process.execPath,
        args,
        env: access,
      },
      { logPath: join(folder, 'log'), core: loadCore },
    );
    return new OperatorProcess(started, `http://127.0.0.1:${port}`);
  }

  private constructor(started: StartedProcess, url: string) {
    this.#started = started;
    this.#url = url;
  }

  get usage(): ReturnType<typeof usage> {
    return usage(this.#started.pid);
  }

  /** `undefined`: it does not answer yet. */
  async figures(): Promise<Figures | undefined> {
    const text = await fetch(`${this.#url}/metrics`).then(
      (response) => response.text(),
      () => undefined,
    );
    if (text === undefined) return undefined;
    const isReady = await fetch(`${this.#url}/readyz`).then(
      async (response) => {
        await response.body?.cancel();
        return response.ok;
      },
      () => false,
    );
    const sum = (pattern: RegExp) => [...text.matchAll(pattern)].reduce((total, [, value]) => total + Number(value), 0);
    return {
      isReady,
      leads: /^leader_election_master_status\{.*\} 1$/m.test(text),
      writes: sum(/^rest_client_requests_total\{method="(?:PATCH|POST|DELETE)",.*\} (\d+)$/gm),
      reconciles: sum(/^controller_runtime_reconcile_total\{.*\} (\d+)$/gm),
      isIdle: sum(/^workqueue_depth\{.*\} (\d+)$/gm) + sum(/^controller_runtime_active_workers\{.*\} (\d+)$/gm) === 0,
    };
  }

  /** Resolves with monotonic milliseconds when `check` is true of it. */
  async until(what: string, check: (figures: Figures) => boolean, timeoutMs = 300_000): Promise<number> {
    const deadline = performance.now() + timeoutMs;
    while (performance.now() < deadline) {
      if (this.#started.exited()) throw new Error(`the operator ended:\n${this.#started.log()}`);
      const figures = await this.figures();
      if (figures && check(figures)) return performance.now();
      await sleep(20);
    }
    throw new Error(`not within ${timeoutMs} ms: ${what}\n${this.#started.log()}`);
  }

  /** @throws Error with the end of its log: it has ended by itself */
  kill(): void {
    if (this.#started.exited()) throw new Error(`the operator ended before it was killed:\n${this.#started.log()}`);
    process.kill(this.#started.pid, 'SIGKILL');
  }

  stop(): Promise<void> {
    return this.#started.stop();
  }
}
