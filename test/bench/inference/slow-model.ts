import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import * as z from 'zod';
import { freePort } from '../../../operator/drivers/local/ports.ts';
import { type Context, root } from '../context.ts';
import type { Options } from '../options.ts';
import { ready, start, track } from '../process.ts';
import { usage } from '../procfs.ts';
import { levadaLaunch } from '../servers.ts';
import { percentile } from '../statistics.ts';
import { figure, markdownTable } from '../table.ts';
import { type LoadResult, runWrk } from '../wrk.ts';
import type { Probes } from './prober.ts';

const connections = 8;
const probesPerSecond = 50;
const candidates = ['test/fixtures/models/slow.onnx', 'test/fixtures/models/slow/model.onnx'];

export interface SlowModel {
  /** One caller: the model's own time, and a little HTTP. */
  alone: LoadResult;
  /** All callers, while health is probed. */
  busy: LoadResult;
  /** CPU time of the server over wall-clock time, while it was busy. */
  coresUsed: number;
  health: { p50Ms: number; p99Ms: number; maxMs: number; sendDelayP99Ms: number; probes: number; errors: string[] };
}

/**
 * Whether health answers while the model works. The server has both cores here, its event loop one and the model's
 * thread the other; load and probes are light.
 */
export async function measureSlowModel(context: Context, options: Options): Promise<SlowModel> {
  const file = candidates.map((path) => join(root, path)).find((path) => existsSync(path));
  if (file === undefined) throw new Error(`no slow model: found neither ${candidates.join(' nor ')}`);
  const port = await freePort();
  const admin = await freePort();
  const launch = levadaLaunch(context, { label: 'slow', name: 'slow', path: file, port, admin });
  const server = start(launch, { logPath: join(context.dir, 'slow.log') });
  const url = `http://127.0.0.1:${port}`;
  const seconds = options.quick ? 4 : 10;
  try {
    await ready(server, `${url}/v2/health/ready`);
    const load = {
      url: `${url}/v2/models/slow/infer`,
      bodies: context.file('slow.bodies', await body(url)),
      anyCore: true,
    };
    const alone = await runWrk({ ...load, connections: 1, seconds: options.quick ? 2 : 5 });
    console.error(`slow model  one caller: ${figure(alone.rate)} req/s, p50 ${figure(alone.p50Ms)} ms`);
    // The load begins before the probes and ends after them, so that each probe meets a busy server.
    const busyRun = runWrk({ ...load, connections, seconds: seconds + 3 });
    await sleep(1000);
    const before = usage(server.pid).cpuMicros;
    const probes = await probe(`${url}/health`, seconds);
    const coresUsed = (usage(server.pid).cpuMicros - before) / 1e6 / seconds;
    return { alone, busy: await busyRun, coresUsed, health: summary(probes) };
  } finally {
    await server.stop();
  }
}

const metadata = z.object({
  inputs: z.array(z.object({ name: z.string(), datatype: z.string(), shape: z.array(z.number()) })),
});

/** A request of one row, made from what the server says of its model. */
async function body(url: string): Promise<string> {
  const response = await fetch(`${url}/v2/models/slow`, { signal: AbortSignal.timeout(5000) });
  const { inputs } = metadata.parse(await response.json());
  return JSON.stringify({
    inputs: inputs.map(({ name, datatype, shape }) => {
      const fixed = shape.map((size) => Math.max(1, size));
      const values = fixed.reduce((product, size) => product * size, 1);
      return { name, datatype, shape: fixed, data: Array.from({ length: values }, (_, i) => (i % 7) / 7) };
    }),
  });
}

async function probe(url: string, seconds: number): Promise<Probes> {
  const prober = fileURLToPath(new URL('prober.ts', import.meta.url));
  const args = [prober, url, String(probesPerSecond), String(seconds)];
  const child = spawn(process.execPath, args, {
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: (seconds + 20) * 1000,
    killSignal: 'SIGKILL',
  });
  track(child);
  let output = '';
  for await (const chunk of child.stdout) output += chunk;
  return JSON.parse(output) as Probes;
}

function summary({ latenciesMs, sendDelaysMs, errors }: Probes): SlowModel['health'] {
  // A probe without an answer is as slow as can be: it must not better the percentile by its absence.
  const all = [...latenciesMs, ...errors.map(() => Number.POSITIVE_INFINITY)];
  return {
    p50Ms: percentile(all, 0.5),
    p99Ms: percentile(all, 0.99),
    maxMs: percentile(all, 1),
    sendDelayP99Ms: percentile(sendDelaysMs, 0.99),
    probes: sendDelaysMs.length,
    errors: errors.slice(0, 5),
  };
}

export function slowModelTable({ alone, busy, coresUsed, health }: SlowModel): string {
  const cells = [
    ...[alone.p50Ms, alone.rate, busy.p50Ms, busy.rate, coresUsed].map(figure),
    ...[health.p50Ms, health.p99Ms, health.maxMs, health.sendDelayP99Ms].map(figure),
    String(health.probes),
  ];
  const header = [
    ...['alone p50 ms', 'alone req/s', `c=${connections} p50 ms`, `c=${connections} req/s`, 'cores used'],
    ...['health p50 ms', 'p99', 'max', 'of it prober late p99', 'probes'],
  ];
  return markdownTable(header, [cells]);
}

export function slowModelProblems({ alone, busy, health }: SlowModel): string[] {
  const failures = alone.errors + busy.errors;
  return [
    ...(failures > 0 ? [`slow model: ${failures} errors under load`] : []),
    ...(health.errors.length > 0 ? [`slow model: health probes failed: ${health.errors.join('; ')}`] : []),
  ];
}

/** A prober that was late itself measured the machine as well. */
export function slowModelDoubts({ health }: SlowModel): string[] {
  const late = health.sendDelayP99Ms;
  return late > 2
    ? [`slow model: other work held up the prober by ${figure(late)} ms (p99), which counts as latency`]
    : [];
}
