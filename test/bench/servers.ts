import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ModelServerConfig } from '../../api/contract/model-server.ts';
import { freePort } from '../../operator/drivers/local/ports.ts';
import { type Context, root } from './context.ts';
import { classNames, type ModelName, models, type Protocol } from './iris.ts';
import { type Launch, ready, type StartedProcess, start } from './process.ts';

export const serverNames = [
  'echo',
  'echo-deferred',
  'levada',
  'fastify-naive',
  'fastapi-sklearn',
  'fastapi-onnxruntime',
  'echo-oip',
  'levada-oip',
] as const;
export type ServerName = (typeof serverNames)[number];

export interface Target {
  model: ModelName;
  port: number;
  /** Names the files of this start. */
  label: string;
}

export interface ServerKind {
  /** Which of the two request bodies it gets. */
  protocol: Protocol;
  /** An echo has no model, so one sample stands for all models. */
  echo: boolean;
  readyPath: string;
  launch(context: Context, target: Target): Promise<Launch>;
}

const nodePeer =
  (file: string) =>
  async (_: Context, { port, model }: Target) => ({
    command: process.execPath,
    args: [peer(file)],
    env: { PORT: String(port), MODEL: models[model].onnx, CLASS_NAMES: classNames.join() },
  });

const pythonPeer =
  (file: string, format: 'onnx' | 'joblib') =>
  async (context: Context, { port, model }: Target) => {
    const { python, joblib } = await context.python();
    const path = format === 'onnx' ? models[model].onnx : join(joblib, models[model].joblib);
    // Without thread pools of numerical libraries: one core, as for everybody.
    const env = { PORT: String(port), MODEL: path, CLASS_NAMES: classNames.join(), OMP_NUM_THREADS: '1' };
    return { command: python, args: [peer(file)], env };
  };

const levada = async (context: Context, { model, port, label }: Target) =>
  levadaLaunch(context, { label, path: models[model].onnx, name: 'iris', port, admin: await freePort(), classNames });

export const servers: Record<ServerName, ServerKind> = {
  echo: { protocol: 'simple', echo: true, readyPath: '/', launch: nodePeer('echo.mjs') },
  'echo-deferred': { protocol: 'simple', echo: true, readyPath: '/', launch: nodePeer('echo-deferred.mjs') },
  'echo-oip': { protocol: 'oip', echo: true, readyPath: '/', launch: nodePeer('echo.mjs') },
  levada: { protocol: 'simple', echo: false, readyPath: '/v2/health/ready', launch: levada },
  'levada-oip': { protocol: 'oip', echo: false, readyPath: '/v2/health/ready', launch: levada },
  'fastify-naive': { protocol: 'simple', echo: false, readyPath: '/health', launch: nodePeer('fastify-naive.mjs') },
  'fastapi-sklearn': {
    protocol: 'simple',
    echo: false,
    readyPath: '/health',
    launch: pythonPeer('fastapi_sklearn.py', 'joblib'),
  },
  'fastapi-onnxruntime': {
    protocol: 'simple',
    echo: false,
    readyPath: '/health',
    launch: pythonPeer('fastapi_onnxruntime.py', 'onnx'),
  },
};

function peer(file: string): string {
  return fileURLToPath(new URL(`peers/${file}`, import.meta.url));
}

export interface LevadaUnit {
  label: string;
  name: string;
  path: string;
  port: number;
  admin: number;
  classNames?: string[];
}

/** Our server, started the way `levada up` and a pod start it. */
export function levadaLaunch(context: Context, unit: LevadaUnit): Launch {
  const config: ModelServerConfig = {
    kind: 'model-server',
    model: unit.name,
    version: 'v1',
    path: unit.path,
    ...(unit.classNames && { classNames: unit.classNames }),
    batching: { maxBatchSize: 64, maxDelayMs: 0 },
    listen: { host: '127.0.0.1', serving: unit.port, admin: unit.admin },
  };
  const path = join(context.dir, `${unit.label}.unit.json`);
  writeFileSync(path, JSON.stringify(config));
  return { command: process.execPath, args: [join(root, 'runtime/main.ts'), '--config', path] };
}

export interface StartedServer extends StartedProcess {
  url: string;
}

let starts = 0;

/** A fresh process, ready to answer. */
export async function startServer(
  context: Context,
  name: ServerName,
  model: ModelName,
  core: number,
): Promise<StartedServer> {
  const kind = servers[name];
  const port = await freePort();
  const label = `${name}-${model}-${++starts}`;
  const started = start(await kind.launch(context, { model, port, label }), {
    logPath: join(context.dir, `${label}.log`),
    core,
  });
  const url = `http://127.0.0.1:${port}`;
  try {
    await ready(started, url + kind.readyPath);
  } catch (error) {
    await started.stop();
    throw error;
  }
  return { ...started, url };
}
