import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ModelServerConfig } from '../../api/contract/model-server.ts';
import { type RoutingTable, routingFiles } from '../../api/contract/routing-table.ts';
import { freePort } from '../../operator/drivers/local/ports.ts';
import { publicKeyText, signRoutingTable } from '../../operator/drivers/routing/signing.ts';
import { call, type Reply, type ServerProcess, serverConfig, startProcess } from './serve.ts';
import { until } from './wait.ts';

export const newKey = (): KeyObject => generateKeyPairSync('ed25519').privateKey;
const operatorKey = newKey();

/** A version in a process of its own, started as a cluster does. */
export interface Pod extends ServerProcess {
  readonly version: string;
  readonly url: string;
  /** For tables. */
  readonly address: string;
}

/** What the first lines of a test start, and its end stops. */
export class Pods {
  #running: Pod[] = [];
  #folders: string[] = [];
  #generation = 0;
  #key = operatorKey;

  /** Resolves when the model is loaded, unless the process is not to be waited for. */
  async start(
    version: string,
    path: string,
    overrides: Partial<ModelServerConfig> = {},
    { isReady = true, args = [] as string[] } = {},
  ): Promise<Pod> {
    const ports = { serving: await freePort(), admin: await freePort(), internal: await freePort() };
    const routing = { resource: 'default/m', folder: this.keys(this.#key) };
    const process = await startProcess(serverConfig(path, { version, routing, ...overrides }), ports, args);
    const url = `http://127.0.0.1:${ports.serving}`;
    const pod: Pod = { ...process, version, url, address: `tcp://127.0.0.1:${ports.internal}` };
    this.#running.push(pod);
    if (isReady) await untilReady(pod);
    return pod;
  }

  /** A folder with the public halves of keys. */
  keys(...keys: KeyObject[]): string {
    const folder = this.folder();
    writeFileSync(join(folder, routingFiles.keys), JSON.stringify(keys.map(publicKeyText)));
    return folder;
  }

  /** A folder that is removed at the end. */
  folder(): string {
    const folder = mkdtempSync(join(tmpdir(), 'levada-routing-'));
    this.#folders.push(folder);
    return folder;
  }

  /** A table of the next generation: `stable` and whatever `parts` say, with the addresses of `others`. */
  table(stable: Pod, others: readonly Pod[], parts: Partial<RoutingTable> = {}): RoutingTable {
    const addresses: Record<string, string[]> = {};
    for (const { version, address } of others) addresses[version] = [...(addresses[version] ?? []), address];
    this.#generation++;
    return {
      resource: 'default/m',
      generation: this.#generation,
      stable: { version: stable.version },
      addresses,
      salt: `${stable.version}/${others[0]?.version}`,
      ...parts,
    };
  }

  /** Tells a pod; fails unless it takes the table. */
  async tell(pod: Pod, table: RoutingTable): Promise<void> {
    const { status, text, json } = await put(pod, signRoutingTable(table, this.#key));
    if (status !== 200 || json.generation !== table.generation) throw new Error(`${status} ${text}`);
  }

  /** Writes a signed table for boot. @returns its folder */
  write(table: RoutingTable): string {
    const folder = this.keys(this.#key);
    writeFileSync(join(folder, routingFiles.table), JSON.stringify(signRoutingTable(table, this.#key)));
    return folder;
  }

  get key(): KeyObject {
    return this.#key;
  }

  async close(): Promise<void> {
    for (const { child } of this.#running) child.kill('SIGCONT');
    await Promise.all(this.#running.splice(0).map((pod) => pod.close()));
    for (const folder of this.#folders.splice(0)) rmSync(folder, { recursive: true, force: true });
  }
}

export const untilReady = (pod: Pod): Promise<unknown> =>
  until(`${pod.version} is ready`, async () => (await call(`http://127.0.0.1:${pod.admin}/readyz`)).status === 200, {
    seen: () => JSON.stringify(pod.log) + pod.stderr(),
  });

/** PUT /routing of the admin port. */
export const put = (pod: Pod, body: unknown): Promise<Reply> =>
  call(`http://127.0.0.1:${pod.admin}/routing`, {
    method: 'PUT',
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });

/** Sums of the samples of a metric, by the value of one label (or of several, joined with `/`). */
export async function samples(pod: Pod, name: string, ...labels: string[]): Promise<Record<string, number>> {
  const { text } = await call(`http://127.0.0.1:${pod.admin}/metrics`);
  const sums: Record<string, number> = {};
  for (const [, inside = '', value] of text.matchAll(new RegExp(`^${name}\\{([^}]*)\\} (\\S+)$`, 'gm'))) {
    const key = labels.map((label) => new RegExp(`(?:^|,)${label}="([^"]*)"`).exec(inside)?.[1]).join('/');
    sums[key] = (sums[key] ?? 0) + Number(value);
  }
  return sums;
}

/** What callers have seen. */
export interface Seen {
  /** Answers with 200, by the version that has given them. */
  readonly versions: Record<string, number>;
  /** All that was no 200. */
  readonly failures: string[];
  readonly answered: () => number;
  stop(): Promise<void>;
}

/** Callers that ask without a pause on connections that they keep, until they are stopped. */
export function load(pod: Pick<Pod, 'url'>, body: object, clients = 8, path = '/v2/models/m/infer'): Seen {
  const agent = new Agent({ keepAlive: true, maxSockets: clients });
  const versions: Record<string, number> = {};
  const failures: string[] = [];
  const payload = JSON.stringify(body);
  let isStopped = false;
  const ask = () =>
    new Promise<void>((resolve) => {
      const fail = (text: string) => {
        failures.push(text);
        resolve();
      };
      const req = request(`${pod.url}${path}`, { method: 'POST', agent }, (res) => {
        let text = '';
        res.on('data', (chunk) => {
          text += chunk;
        });
        res.on('error', (error) => fail(`half an answer: ${error.message}`));
        res.on('end', () => {
          if (res.statusCode !== 200) return fail(`${res.statusCode} ${text}`);
          const version = String(res.headers['x-levada-version']);
          versions[version] = (versions[version] ?? 0) + 1;
          resolve();
        });
      });
      req.on('error', (error) => fail(error.message));
      req.end(payload);
    });
  const all = Promise.all(
    Array.from({ length: clients }, async () => {
      while (!isStopped) await ask();
    }),
  );
  return {
    versions,
    failures,
    answered: () => Object.values(versions).reduce((sum, count) => sum + count, 0),
    async stop() {
      isStopped = true;
      await all;
      agent.destroy();
    },
  };
}
