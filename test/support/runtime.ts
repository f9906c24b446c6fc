import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { ModelServerConfig } from '../../api/contract/model-server.ts';
import { freePort } from '../../operator/drivers/local/ports.ts';

export interface RuntimeProcess {
  readonly url: string;
  readonly adminUrl: string;
  /** SIGTERM; resolves with the exit code. */
  stop(): Promise<number | null>;
}

/** A model server as a cluster starts it: `node runtime/main.ts --config unit.json`. Resolves when it is ready. */
export async function startRuntime(path: string, overrides: Partial<ModelServerConfig> = {}): Promise<RuntimeProcess> {
  const [serving, admin] = [await freePort(), await freePort()];
  const config: ModelServerConfig = {
    kind: 'model-server',
    model: 'model',
    version: 'v1',
    path,
    batching: { maxBatchSize: 64, maxDelayMs: 0 },
    listen: { host: '127.0.0.1', serving, admin },
    ...overrides,
  };
  const folder = await mkdtemp(join(tmpdir(), 'levada-runtime-'));
  const file = join(folder, 'unit.json');
  await writeFile(file, JSON.stringify(config));
  const main = fileURLToPath(new URL('../../runtime/main.ts', import.meta.url));
  const child = spawn(process.execPath, [main, '--config', file], { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk;
  });
  const exited = new Promise<number | null>((resolve) => child.on('exit', resolve));
  const url = `http://127.0.0.1:${serving}`;
  const deadline = Date.now() + 60_000;
  while (!(await isReady(url))) {
    if (child.exitCode !== null || Date.now() > deadline) {
      child.kill('SIGKILL');
      throw new Error(`the model server was not ready:\n${output}`);
    }
    await delay(20);
  }
  return {
    url,
    adminUrl: `http://127.0.0.1:${admin}`,
    async stop() {
      child.kill('SIGTERM');
      const code = await exited;
      await rm(folder, { recursive: true, force: true });
      return code;
    },
  };
}

const isReady = (url: string): Promise<boolean> =>
  fetch(`${url}/v2/health/ready`).then(
    async (response) => {
      await response.arrayBuffer();
      return response.ok;
    },
    () => false,
  );
