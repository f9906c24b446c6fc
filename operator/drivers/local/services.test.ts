import { spawn } from 'node:child_process';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isRunning, noProcesses, processes } from '../../../test/support/processes.ts';
import { until } from '../../../test/support/wait.ts';
import type { LocalService } from '../../source/local.ts';
import { LocalServices, type LocalServicesOptions } from './services.ts';

/** Says what it was started with; ends by SIGTERM, or as the path asks it to. */
const server = `
import { createServer } from 'node:http';
import { spawn } from 'node:child_process';
console.log('args ' + JSON.stringify(process.argv.slice(2)));
createServer((request, response) => {
  if (request.url === '/die') process.exit(7);
  if (request.url === '/kill') process.kill(process.pid, 'SIGKILL');
  if (request.url === '/env') return response.end(JSON.stringify(process.env));
  if (request.url === '/deaf') process.on('SIGTERM', () => console.log('no'));
  if (request.url === '/child') {
    const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'inherit' });
    return response.end(String(child.pid));
  }
  response.end(String(process.pid));
}).listen(Number(process.env.PORT), '127.0.0.1');
`;

let folder: string;
let all: LocalServices[];
let lines: string[];
let notes: string[];
let changes: number;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'levada-services-'));
  await writeFile(join(folder, 'server.mjs'), server);
  [all, lines, notes, changes] = [[], [], [], 0];
});
afterEach(async () => {
  for (const services of all) services.kill();
  await Promise.all(all.map((services) => services.stop()));
  await rm(folder, { recursive: true, force: true });
});

function start(options: Partial<LocalServicesOptions> = {}): LocalServices {
  const services = new LocalServices({
    log: (name, line) => lines.push(`${name}: ${line}`),
    note: (text) => notes.push(text),
    changed: () => changes++,
    ...options,
  });
  all.push(services);
  return services;
}

const service = (...args: string[]): LocalService => ({
  command: ['node', 'server.mjs', ...args],
  cwd: folder,
  env: {},
});
const code = (text: string): LocalService => ({ command: ['node', '-e', text], cwd: folder, env: {} });
const seen = () => [...notes, ...lines].join('\n');
const ready = (services: LocalServices, name = 'a') =>
  until(`${name} is ready`, () => services.state(name)?.state === 'Ready' && services.state(name), { seen });
const get = async (services: LocalServices, path: string, name = 'a'): Promise<string> =>
  (await fetch(new URL(path, services.origin(name)))).text();
const provoke = (services: LocalServices, path: string) => get(services, path).catch(() => {});

describe('LocalServices', () => {
  it('starts, tells the port, and stops', async () => {
    const services = start();
    await services.apply({ a: service('one', ''), b: service() });
    expect(services.origin('a')?.href).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/$/);
    expect(services.origin('a')?.port).not.toBe(services.origin('b')?.port);
    expect([services.origin('c'), services.state('c')]).toEqual([undefined, undefined]);
    const { pid } = await ready(services);
    await ready(services, 'b');
    expect(await get(services, '/')).toBe(String(pid));
    expect(lines).toContain('a: args ["one",""]');
    expect(services.state('a')).toEqual({ state: 'Ready', detail: '', pid });
    expect(changes).toBeGreaterThanOrEqual(4);
    expect(notes).toEqual([]);
    await services.stop();
    expect([services.origin('a'), services.state('a')]).toEqual([undefined, undefined]);
    expect(() => process.kill(pid ?? 0, 0)).toThrow('ESRCH');
  });

  it('passes on PATH and the like and what is declared, and nothing else', async () => {
    const environment = { PATH: '/bin', HOME: '/h', LC_ALL: 'C', DB_PASSWORD: 'x', NODE_OPTIONS: '--x', PORT: '1' };
    const services = start({ environment });
    await services.apply({ a: { ...service(), env: { HOME: '/other', MINE: 'a b' } } });
    await ready(services);
    const port = services.origin('a')?.port;
    expect(JSON.parse(await get(services, '/env'))).toEqual({
      PATH: '/bin',
      HOME: '/other',
      LC_ALL: 'C',
      MINE: 'a b',
      PORT: port,
    });
  });

  it.each([
    ['/die', 'exit code 7'],
    ['/kill', 'SIGKILL'],
  ])('starts a service again that ends by %s, on the same port', async (path, detail) => {
    const services = start({ timing: { stable: 0 } });
    await services.apply({ a: service() });
    const first = await ready(services);
    const origin = services.origin('a')?.href;
    for (const _ of [1, 2, 3, 4]) {
      const { pid } = await ready(services);
      await provoke(services, path);
      await until('another process', () => services.state('a')?.pid !== pid);
    }
    expect((await ready(services)).pid).not.toBe(first.pid);
    expect(services.origin('a')?.href).toBe(origin);
    // Each was ready before it died, so each death is a first one.
    expect(notes).toEqual(Array(4).fill(`service a died (${detail}); it is started again in 0.1 s`));
  });

  it('says a service failed that dies again and again, later and later, with its last words', async () => {
    const services = start({ timing: { backoff: 1, maxBackoff: 4 } });
    await services.apply({ a: code('console.error("no database\\n"); process.exit(3)') });
    await until('five deaths', () => notes.length >= 5);
    const delays = notes.slice(0, 5).map((note) => /again in (.*) s/.exec(note)?.[1]);
    expect(delays).toEqual(['0.001', '0.002', '0.004', '0.004', '0.004']);
    expect(services.state('a')).toMatchObject({
      state: 'Failed',
      code: 'ServiceFailed',
      detail: expect.stringMatching(
        /^service a does not run: it died \(exit code 3: no database\) and is started again/,
      ),
    });
    await services.apply({ a: service() });
    await ready(services);
  });

  it('says a service failed that does not listen, and takes it when it does', async () => {
    const listen = 'require("http").createServer((_, r) => r.end("ok")).listen(process.env.PORT, "127.0.0.1")';
    const go = `const t = setInterval(() => { if (require("fs").existsSync("go")) { clearInterval(t); ${listen} } }, 20)`;
    const services = start({ timing: { listenWithin: 1 } });
    await services.apply({ a: code(go) });
    const failed = await until('a failure', () => services.state('a')?.state === 'Failed' && services.state('a'));
    expect(failed.detail).toMatch(
      /^service a does not run: it does not listen on port \d+ \(environment variable PORT\)$/,
    );
    await writeFile(join(folder, 'go'), '');
    await ready(services);
    expect(await get(services, '/')).toBe('ok');
  });

  it('takes another port when its own was taken meanwhile', async () => {
    const services = start({ timing: { backoff: 300 } });
    await services.apply({ a: service() });
    await ready(services);
    const port = Number(services.origin('a')?.port);
    await provoke(services, '/die');
    const other = net.createServer();
    await until(
      'the port',
      () =>
        new Promise<boolean>((resolve) => {
          other.once('error', () => resolve(false));
          other.listen(port, '127.0.0.1', () => resolve(true));
        }),
    );
    try {
      await until('another port', () => services.origin('a')?.port !== String(port));
      await ready(services);
      expect(await get(services, '/')).toBe(String(services.state('a')?.pid));
      expect(notes.at(-1)).toBe(
        `service a: port ${port} is in use meanwhile; ${services.origin('a')?.port} takes its place`,
      );
    } finally {
      other.close();
    }
  });

  it('restarts what is changed and nothing else, and keeps the port over changes and removal', async () => {
    const services = start();
    await services.apply({ a: service('1'), b: service() });
    const [a, b] = [await ready(services, 'a'), await ready(services, 'b')];
    const origin = services.origin('a')?.href;
    await services.apply({ a: service('2'), b: service() });
    expect((await ready(services)).pid).not.toBe(a.pid);
    expect(services.origin('a')?.href).toBe(origin);
    expect(services.state('b')?.pid).toBe(b.pid);
    await services.apply({ b: service() });
    expect(services.origin('a')).toBeUndefined();
    await services.apply({ a: service('3'), b: service() });
    await ready(services);
    expect(services.origin('a')?.href).toBe(origin);
    expect(lines.filter((line) => line.startsWith('a: args'))).toEqual(['1', '2', '3'].map((n) => `a: args ["${n}"]`));
    expect(notes).toEqual([]);
  });

  it('bears many changes at once: the last one runs', async () => {
    const services = start();
    await Promise.all(
      Array.from({ length: 10 }, (_, n) => services.apply(n % 3 === 2 ? {} : { a: service(String(n)) })),
    );
    await ready(services);
    expect(lines).toEqual(['a: args ["9"]']);
    await Promise.all([services.stop(), services.stop()]);
    expect(services.state('a')).toBeUndefined();
  });
});

describe('LocalServices, of a program that is not there', () => {
  const missing = { command: ['levada-no-such-program', 'x'] };

  it('takes the fallback and says so', async () => {
    const services = start();
    const { command } = service('fallback');
    const fallback = { command, cwd: folder, env: { MINE: '2' } };
    await services.apply({ a: { ...missing, cwd: folder, env: { MINE: '1' }, fallback, note: 'half of it' } });
    await ready(services);
    expect(JSON.parse(await get(services, '/env'))).toMatchObject({ MINE: '2' });
    expect(notes).toEqual([
      'service a: levada-no-such-program is not installed (not found in PATH); `node server.mjs fallback` takes its place',
      'service a: half of it',
    ]);
    await provoke(services, '/die');
    await until('the death', () => notes.length > 2);
    await ready(services);
    expect(notes).toHaveLength(3); // the fallback is not said again
  });

  it('takes the fallback for a command that never listens', async () => {
    const services = start({ timing: { backoff: 1, stable: 0 } });
    const broken = code('console.error("no runtime"); process.exit(1)');
    await services.apply({ a: { ...broken, fallback: service() }, b: { ...service(), fallback: broken } });
    await ready(services);
    expect(notes.slice(0, 2)).toEqual([
      'service a died (exit code 1: no runtime); it is started again in 0.001 s',
      'service a died (exit code 1: no runtime); it is started again in 0.002 s',
    ]);
    expect(notes[2]).toMatch(
      /^service a: `node -e .*` died 3 times before it listened \(exit code 1: no runtime\); `node server.mjs` takes its place$/,
    );
    for (const _ of [1, 2, 3, 4]) {
      const { pid } = await ready(services, 'b');
      await get(services, '/die', 'b').catch(() => {});
      await until('another process', () => services.state('b')?.pid !== pid);
    }
    await ready(services, 'b'); // what was ready once is started again
    expect(notes).toHaveLength(7);
  });

  it('fails without a fallback, and starts once the program is there', async () => {
    const services = start({ timing: { backoff: 1, maxBackoff: 20 }, environment: { PATH: `/nonexistent:${folder}` } });
    await services.apply({ a: { ...missing, cwd: folder, env: {} } });
    const failed = await until('a failure', () => services.state('a')?.state === 'Failed' && services.state('a'));
    expect(failed).toEqual({
      state: 'Failed',
      code: 'ServiceFailed',
      detail: 'service a does not run: levada-no-such-program is not installed (not found in PATH)',
    });
    expect(notes).toEqual(['service a cannot be started: levada-no-such-program is not installed (not found in PATH)']);
    const script = join(folder, 'levada-no-such-program');
    await writeFile(script, `#!/bin/sh\nexec '${process.execPath}' server.mjs "$@"\n`);
    await chmod(script, 0o755);
    await ready(services);
    expect(lines).toEqual(['a: args ["x"]']);
  });

  it.each<[string, () => Partial<LocalService>, string]>([
    ['a relative path', () => ({ command: ['./nothing'] }), '/nothing is not a program'],
    ['a file that may not be run', () => ({ command: ['./server.mjs'] }), '/server.mjs is not a program'],
    ['a folder', () => ({ command: ['/tmp'] }), '/tmp is not a program'],
    ['a folder to run in that is not there', () => ({ cwd: join(folder, 'no') }), '/no is not there'],
    ['a fallback that is not there either', () => ({ command: ['./x'], fallback: { command: ['./y'], cwd: folder, env: {} } }), 'x is not a program; fallback: '], // biome-ignore format: one line
    ['an argument that no process can have', () => ({ command: ['node', 'a\0b'] }), 'without null bytes'],
  ])('fails with %s', async (_, change, text) => {
    const services = start({ timing: { backoff: 1 } });
    await services.apply({ a: { ...service(), ...change() } });
    const failed = await until('a failure', () => services.state('a')?.state === 'Failed' && services.state('a'));
    expect(failed).toMatchObject({ code: 'ServiceFailed', detail: expect.stringContaining(text) });
  });

  it('fails with a script whose interpreter is not there', async () => {
    await writeFile(join(folder, 'broken'), '#!/nonexistent/sh\n');
    await chmod(join(folder, 'broken'), 0o755);
    const services = start({ timing: { backoff: 1 } });
    await services.apply({ a: { command: ['./broken'], cwd: folder, env: {} } });
    await until('a failure', () => services.state('a')?.state === 'Failed');
    expect(services.state('a')?.detail).toContain('it could not be started: spawn');
  });
});

describe.skipIf(noProcesses)('what a service leaves', () => {
  const child = async (services: LocalServices): Promise<number> => Number(await get(services, '/child'));
  const gone = (pid: number) => until(`${pid} is gone`, () => !isRunning(pid));

  it.each(['stop', 'dies', 'restart'])('goes with it: %s', async (how) => {
    const services = start();
    await services.apply({ a: service() });
    await ready(services);
    const pid = await child(services);
    expect(isRunning(pid)).toBe(true);
    if (how === 'stop') await services.stop();
    else if (how === 'dies') await provoke(services, '/die');
    else await services.apply({ a: service('again') });
    await gone(pid);
  });

  it('is killed when it does not hear', async () => {
    const services = start({ timing: { killAfter: 200 } });
    await services.apply({ a: service() });
    const { pid = 0 } = await ready(services);
    await get(services, '/deaf');
    await services.stop();
    expect(lines).toContain('a: no');
    expect(isRunning(pid)).toBe(false);
  });

  it('is killed at once by kill, also while it is being stopped', async () => {
    const services = start({ timing: { killAfter: 600_000 } });
    await services.apply({ a: service() });
    const { pid = 0 } = await ready(services);
    await get(services, '/deaf');
    const stopped = services.stop();
    await until('the signal', () => lines.includes('a: no'));
    services.kill();
    await stopped;
    expect(isRunning(pid)).toBe(false);
  });

  it('goes when the process that started it is killed', async () => {
    const module = pathToFileURL(join(import.meta.dirname, 'services.ts')).href;
    const script = `
      import { LocalServices } from ${JSON.stringify(module)};
      const print = (value) => console.log(JSON.stringify(value));
      const services = new LocalServices({ log() {}, note: print, changed: () => print(services.state('a') ?? null) });
      await services.apply({ a: ${JSON.stringify(service())} });`;
    await writeFile(join(folder, 'parent.mjs'), script);
    const parent = spawn(process.execPath, [join(folder, 'parent.mjs')], { stdio: ['ignore', 'pipe', 'inherit'] });
    let output = '';
    parent.stdout.on('data', (chunk) => {
      output += chunk;
    });
    await until('the service', () => output.includes('"Ready"'), { seen: () => output });
    const pid = Number(/"Ready".*"pid":(\d+)/.exec(output)?.[1]);
    expect(isRunning(pid)).toBe(true);
    parent.kill('SIGKILL');
    await gone(pid);
    await until('the guard is gone', () => !processes().some(({ command }) => command.endsWith(`levada-guard ${pid}`)));
  });

  it('leaves no guard behind', async () => {
    const services = start();
    await services.apply({ a: service() });
    const { pid } = await ready(services);
    const guards = () => processes().filter(({ command }) => command.endsWith(`levada-guard ${pid}`));
    expect(guards()).toHaveLength(1);
    await services.stop();
    await until('no guard', () => guards().length === 0);
  });
});

describe('lines', () => {
  it('come whole, and in pieces where they are longer than 64 Ki', async () => {
    const text = `
      process.stdout.write('ü'.repeat(70000) + '\\r\\nshort\\n\\nno end');
      process.stderr.write(Buffer.from([0xff, 0x0a]));`;
    await writeFile(join(folder, 'talk.cjs'), text);
    const services = start({ timing: { backoff: 60_000 } });
    await services.apply({ a: { command: ['node', 'talk.cjs'], cwd: folder, env: {} } });
    await until('the death', () => notes.length > 0);
    expect(lines.filter((line) => line !== 'a: \ufffd')).toEqual([
      `a: ${'ü'.repeat(65_536)}`,
      `a: ${'ü'.repeat(70_000 - 65_536)}`,
      'a: short',
      'a: ',
      'a: no end',
    ]);
    expect(lines).toContain('a: \ufffd');
  });
});
