import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import * as z from 'zod';
import type { Context } from '../context.ts';
import { type Launch, loadCore, pinned, type StartedProcess, serverCore, start, track } from '../process.ts';

const upstream = fileURLToPath(new URL('./upstream.mjs', import.meta.url));
const client = fileURLToPath(new URL('./client.ts', import.meta.url));
const peer = fileURLToPath(new URL('../peers/fanout_aiohttp.py', import.meta.url));

export interface Upstream extends StartedProcess {
  quick: string;
  slow: string;
}

const ports = z.object({ quick: z.int(), slow: z.int() });

/** The servers that both clients call, on the core that the clients do not have. */
export async function startUpstream(context: Context): Promise<Upstream> {
  const launch = { command: process.execPath, args: [upstream] };
  const server = start(launch, { logPath: join(context.dir, 'upstream.log'), core: loadCore });
  for (const deadline = performance.now() + 20_000; performance.now() < deadline && !server.exited(); ) {
    const line = /^PORTS (.*)$/m.exec(server.log())?.[1];
    if (line !== undefined) {
      const { quick, slow } = ports.parse(JSON.parse(line));
      return { ...server, quick: `http://127.0.0.1:${quick}`, slow: `http://127.0.0.1:${slow}` };
    }
    await sleep(20);
  }
  await server.stop();
  throw new Error(`the upstream servers did not start:\n${server.log()}`);
}

/** Runs a client to its end, on its core. @returns what it printed after RESULT */
export async function runClient(launch: Launch, timeoutMs: number): Promise<unknown> {
  const { command, args } = pinned(launch, serverCore);
  const { NODE_OPTIONS: _, ...inherited } = process.env;
  const child = spawn(command, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...inherited, NODE_ENV: 'production' },
    timeout: timeoutMs,
    killSignal: 'SIGKILL',
  });
  track(child);
  let output = '';
  let errors = '';
  child.stdout.on('data', (chunk) => (output += chunk));
  child.stderr.on('data', (chunk) => (errors += chunk));
  await new Promise<void>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', () => resolve());
  });
  const line = output.split('\n').find((text) => text.startsWith('RESULT '));
  if (line === undefined) throw new Error(`${args.join(' ')} printed no result:\n${(output + errors).slice(-2000)}`);
  return JSON.parse(line.slice('RESULT '.length));
}

export const ourClient = (part: string, options: object): Launch => ({
  command: process.execPath,
  args: ['--expose-gc', client, part, JSON.stringify(options)],
});

export const aiohttpClient = (python: string, args: ReadonlyArray<string | number>): Launch => ({
  command: python,
  args: [peer, ...args.map(String)],
});
