import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import * as z from 'zod';
import type { Context } from '../context.ts';
import { type Launch, loadCore, runClient as runPinned, type StartedProcess, serverCore, start } from '../process.ts';

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
export const runClient = (launch: Launch, timeoutMs: number): Promise<unknown> =>
  runPinned(launch, { core: serverCore, timeoutMs });

export const ourClient = (part: string, options: object): Launch => ({
  command: process.execPath,
  args: ['--expose-gc', client, part, JSON.stringify(options)],
});

export const aiohttpClient = (python: string, args: ReadonlyArray<string | number>): Launch => ({
  command: python,
  args: [peer, ...args.map(String)],
});
