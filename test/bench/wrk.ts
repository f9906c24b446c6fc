import { spawn, spawnSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import * as z from 'zod';
import { loadCore, pinned, track } from './process.ts';

const script = fileURLToPath(new URL('wrk.lua', import.meta.url));

const wrkResult = z.strictObject({
  durationUs: z.number().positive(),
  requests: z.int().min(0),
  p50Us: z.number(),
  p99Us: z.number(),
  maxUs: z.number(),
  errors: z.strictObject({
    connect: z.int(),
    read: z.int(),
    write: z.int(),
    status: z.int(),
    timeout: z.int(),
  }),
});

export interface LoadResult {
  requests: number;
  seconds: number;
  rate: number;
  p50Ms: number;
  p99Ms: number;
  maxMs: number;
  /** Connect, read, write and time-out errors, and answers with a status above 399. */
  errors: number;
}

/** wrk.lua prints one line with everything; the rest of wrk's report has rounded figures. */
export function parseWrkOutput(output: string): LoadResult {
  const line = output.split('\n').find((text) => text.startsWith('RESULT '));
  if (line === undefined) throw new Error(`wrk printed no result:\n${output.slice(-2000)}`);
  const { durationUs, requests, p50Us, p99Us, maxUs, errors } = wrkResult.parse(JSON.parse(line.slice(7)));
  return {
    requests,
    seconds: durationUs / 1e6,
    rate: requests / (durationUs / 1e6),
    p50Ms: p50Us / 1000,
    p99Ms: p99Us / 1000,
    maxMs: maxUs / 1000,
    errors: errors.connect + errors.read + errors.write + errors.status + errors.timeout,
  };
}

export interface Load {
  url: string;
  /** File with one request body a line. */
  bodies: string;
  connections: number;
  seconds: number;
  /** Not bound to the load generator's core. */
  anyCore?: boolean;
}

/** A closed loop: each connection sends its next request when the last one is answered. */
export const runWrk = (load: Load): Promise<LoadResult> => startWrk(load, load.seconds).result;

/**
 * Several loads at once of which only one works at a time, for `sliceMs` milliseconds: whatever becomes slower or quicker
 * meanwhile (the machine's clock, its neighbours) does so for all of them. Each works for about `seconds`. Their times and
 * rates mean nothing, for they were held in the middle of requests; their numbers of requests do.
 */
export async function runWrkInTurns(loads: readonly Load[], sliceMs: number): Promise<LoadResult[]> {
  const total = loads.reduce((sum, { seconds }) => sum + seconds, 0);
  const running = loads.map((load) => startWrk(load, total));
  const results = Promise.all(running.map(({ result }) => result));
  results.catch(() => {}); // told where it is awaited
  for (const one of running) one.hold();
  try {
    const end = performance.now() + total * 1_000;
    for (let turn = 0; performance.now() < end; turn++) {
      const one = running[turn % running.length];
      one?.go();
      await sleep(sliceMs);
      one?.hold();
    }
  } finally {
    for (const one of running) one.go();
  }
  return await results;
}

interface RunningWrk {
  readonly result: Promise<LoadResult>;
  /** It does nothing until `go`. Neither does anything to one that has ended. */
  hold(): void;
  go(): void;
}

function startWrk(load: Load, seconds: number): RunningWrk {
  const { url, bodies, connections } = load;
  const args = ['-t1', `-c${connections}`, `-d${seconds}s`, '--timeout', '10s', '-s', script, url, '--', bodies];
  const launch = pinned({ command: 'wrk', args }, load.anyCore ? undefined : loadCore);
  const child = spawn(launch.command, launch.args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: (seconds + 30) * 1000,
    killSignal: 'SIGKILL',
  });
  track(child);
  let output = '';
  child.stdout.on('data', (chunk) => (output += chunk));
  child.stderr.on('data', (chunk) => (output += chunk));
  const closed = new Promise<void>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', () => resolve());
  });
  return {
    result: closed.then(() => parseWrkOutput(output)),
    hold: () => child.kill('SIGSTOP'),
    go: () => child.kill('SIGCONT'),
  };
}

/** What is missing on this machine, with how to get it. */
export function missingTools(): string[] {
  const tools = { wrk: 'Debian package `wrk`', taskset: 'Debian package `util-linux`' };
  return Object.entries(tools)
    .filter(([tool]) => spawnSync(tool, ['--version'], { stdio: 'ignore' }).error !== undefined)
    .map(([tool, source]) => `${tool} is not installed (${source}: apt-get install ${source.split('`')[1]})`);
}
