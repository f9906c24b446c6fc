/** Pods of pipelines, as a kubelet starts them: `node runtime/main.ts` with a configuration and the folder of a Secret. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { PipelineUnitConfig, PipelineUnitStatus } from '../../api/contract/pipeline-unit.ts';
import { freePort } from '../../operator/drivers/local/ports.ts';
import { call, type Reply, type ServerProcess, startProcess } from './serve.ts';

export type PodConfig = Partial<PipelineUnitConfig> & Pick<PipelineUnitConfig, 'topology' | 'placement'>;

/** Each key of the Secret is a file; `undefined`: the folder is not there. */
export async function startPod(
  config: PodConfig,
  secret: Readonly<Record<string, string>> | undefined,
  args: readonly string[] = [],
): Promise<PipelinePod> {
  const folder = await mkdtemp(join(tmpdir(), 'levada-secret-'));
  for (const [key, value] of Object.entries(secret ?? {})) await writeFile(join(folder, key), value);
  if (!secret) await rm(folder, { recursive: true });
  const ports = { serving: await freePort(), admin: await freePort() };
  const unit: PipelineUnitConfig = {
    kind: 'pipeline',
    pipeline: config.topology.pipeline,
    unit: 'orders-part',
    consumers: [],
    sources: [],
    names: { local: {}, services: {} },
    secret: folder,
    secretName: 'test/mq',
    listen: { host: '127.0.0.1', ...ports },
    ...config,
  };
  return new PipelinePod(await startProcess(unit, ports, args), folder);
}

export class PipelinePod implements AsyncDisposable {
  readonly process: ServerProcess;
  readonly folder: string;

  constructor(process: ServerProcess, folder: string) {
    this.process = process;
    this.folder = folder;
  }

  get url(): string {
    return `http://127.0.0.1:${this.process.serving}`;
  }

  /** Of its admin port. */
  ask(path: string): Promise<Reply> {
    return call(`http://127.0.0.1:${this.process.admin}${path}`);
  }

  async status(): Promise<PipelineUnitStatus> {
    return (await this.ask('/status')).json as PipelineUnitStatus;
  }

  /** All that it has written so far. */
  get written(): string {
    return JSON.stringify(this.process.log) + this.process.stderr();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.process.close();
    await rm(this.folder, { recursive: true, force: true });
  }
}
