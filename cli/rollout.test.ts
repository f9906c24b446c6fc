/** The command against a run of this folder that does what the operator does, without processes. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { stripVTControlCharacters } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { rolloutCommand as annotation, resourceKey } from '../api/contract/names.ts';
import type { ModelDeployment } from '../api/v1alpha1/model-deployment.ts';
import type { LocalPipelines } from '../operator/drivers/local/pipelines.ts';
import { decideRollout } from '../operator/plan/rollout/rollout.ts';
import type { RolloutSpec, RolloutStatus } from '../operator/plan/rollout/types.ts';
import { noTerminal, onTerminal } from '../test/support/terminal.ts';
import { until } from '../test/support/wait.ts';
import { getCommand } from './get.ts';
import { at, rolling } from './rollout/testing.ts';
import { rolloutCommand, watcher } from './rollout.ts';
import { statusCommand } from './status.ts';
import { run } from './testing.ts';
import { type AdminServer, startAdmin } from './up/admin.ts';
import { adminApi } from './up/admin-api.ts';
import { writeRun } from './up/run-file.ts';
import { FileStore } from './up/store.ts';

const home = process.cwd();
let folder: string;
let store: FileStore;
let admin: AdminServer;

const list = () => store.list() as ModelDeployment[];
const models = () => list().map((resource) => ({ resource, services: { iris: 'http://iris' }, admin: {} }));

/** What the reconciler does of it. */
async function decide(resource: ModelDeployment): Promise<void> {
  const { status, spec, metadata } = resource;
  const command = metadata.annotations?.[annotation];
  const wanted = {
    serve: spec.serve ?? '',
    versions: ['v1', 'v2'],
    rollout: spec.rollout as RolloutSpec,
    ...(command && { command }),
  };
  const loaded = { ready: 1, fullCapacity: true };
  const observed = { front: 'v1', versions: { v1: loaded, v2: loaded }, appliedWeight: status?.rollout?.weight ?? 0 };
  const decided = decideRollout(wanted, status?.rollout as RolloutStatus, observed, at(110));
  const { lastRollback = status?.lastRollback } = decided;
  const rollout = decided.status as NonNullable<ModelDeployment['status']>['rollout'];
  await store.writeStatus(resource, { ...status!, rollout, ...(lastRollback && { lastRollback }) });
}

async function runs(resource: ModelDeployment): Promise<void> {
  store.replace([resource]);
  await store.writeStatus(resource, { ...resource.status! });
}

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'levada-rollout-'));
  process.chdir(folder);
  store = new FileStore(
    () => new Date(),
    () => {},
    () => {},
  );
  const command = (key: string, text: string) => {
    store.command(key, text);
    for (const resource of list()) if (resourceKey(resource) === key) void decide(resource);
  };
  admin = await startAdmin(adminApi(models, {} as LocalPipelines, command));
  await writeRun({ pid: process.pid, admin: { url: admin.url, token: admin.token }, ports: {} });
});
afterEach(async () => {
  admin.close();
  process.chdir(home);
  await rm(folder, { recursive: true });
});

const levada = (...args: string[]) => run(rolloutCommand(), ...args);

describe('levada rollout', () => {
  it('shows the rollout, as text and as JSON', async () => {
    await runs(rolling({}));
    const text = await levada('iris');
    expect(text).toMatchObject({ stderr: '', exitCode: undefined });
    expect(text.stdout).toMatch(
      /^ModelDeployment iris: Progressing\n25 % until .*\n\nstable +v1 .* 75 %\ncandidate +v2 /,
    );
    const { status } = rolling({});
    expect(JSON.parse((await levada('iris', '-o', 'json')).stdout)).toEqual({ rollout: status?.rollout });
    await expect(levada('rose')).rejects.toMatchObject({ code: 'UnknownResource' });
  });

  it('says what is to become of it, and prints what came of that', async () => {
    await runs(rolling({}));
    expect(await levada('iris', 'pause')).toEqual({
      stdout: 'Done: paused at 25 %\n',
      stderr: '',
      exitCode: undefined,
    });
    expect(list()[0]).toMatchObject({
      metadata: { annotations: { [annotation]: 'pause/v2-abc-0' } },
      status: { rollout: { phase: 'Paused' } },
    });
    const again = await levada('iris', 'pause');
    expect(again).toEqual({ stdout: '', stderr: 'Refused: it is paused already\n', exitCode: 1 });
    const { stdout } = await levada('iris', 'resume', '-o', 'json');
    expect(JSON.parse(stdout).rollout).toMatchObject({
      phase: 'Progressing',
      command: { outcome: 'Done', message: 'it goes on' },
    });
    await runs(rolling(undefined, { stableVersion: 'v2' }));
    expect(await levada('iris', 'abort')).toMatchObject({ stderr: 'Refused: no rollout is under way\n', exitCode: 1 });
  });

  it('waits for the end: 1 when the wanted version does not serve, 0 when it does or abort was asked for', async () => {
    await runs(rolling({}));
    const aborted = await levada('iris', 'abort', '--wait', '5s');
    expect(aborted).toMatchObject({ exitCode: 0 });
    expect(aborted.stdout).toMatch(/^Done: taken back\nModelDeployment iris: Aborted\n/);
    expect(aborted.stderr).toMatch(/^\d\d:\d\d:\d\d Aborted: v2 0 %.*\nVersion v2 was taken back by a command\./);
    expect(await levada('iris', '--wait')).toMatchObject({ exitCode: 1 });
    await runs(rolling(undefined, { rollout: { phase: 'Stable', stable: 'v2' }, stableVersion: 'v2' }));
    expect(await levada('iris', '--wait', '--for', 'v2')).toMatchObject({ exitCode: 0 });
  });

  it('is not over within its time', async () => {
    await runs(rolling({}));
    const { exitCode, stderr } = await levada('iris', '--wait', '1ms');
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(/\nit is not over within 1ms: Progressing: v2 25 %/);
  });

  it('--watch is a line at each change where there is no terminal', async () => {
    await runs(rolling({ phase: 'RolledBack', weight: 0, message: 'Version v1 serves.' }));
    const { stdout, exitCode } = await levada('iris', '-w');
    expect(exitCode).toBeUndefined();
    expect(stdout).toMatch(/^\d\d:\d\d:\d\d RolledBack: v2 0 % \(applied: 25 %\); Version v1 serves\.; [^\n]*\n$/);
  });

  it.skipIf(noTerminal)(
    `--watch ends with Ctrl-C on a terminal${noTerminal ? ` (skipped: ${noTerminal})` : ''}`,
    async () => {
      await runs(rolling({}));
      const [file = '', ...args] = onTerminal;
      const main = join(import.meta.dirname, 'main.ts');
      const child = spawn(file, [...args, main, 'rollout', 'iris', '-w'], { stdio: ['pipe', 'pipe', 'inherit'] });
      let output = '';
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        output += text;
      });
      // A second value: it is drawn anew by itself.
      await until('it is drawn twice', () => /trend +v2 +▃▃/.test(output), { seen: () => output });
      const ended = once(child, 'exit');
      child.stdin.write('\x03');
      expect(await ended).toEqual([0, null]);
      expect(output.lastIndexOf('\u001b[?25h')).toBeGreaterThan(output.lastIndexOf('\u001b[?25l'));
    },
  );

  it.each([
    [['--wait', 'promote'], '--wait: found promote; allowed: a duration such as 90s, 30m or 2h'],
    [['--for', 'v2'], '--for belongs to --wait and --watch'],
    [['--watch', '-o', 'json'], '--watch prints text; -o json is for one look'],
    [['-n', 'shop'], '--namespace: is for a cluster; name one by --context or --kubeconfig'],
  ])('refuses %j', async (args, message) => {
    await runs(rolling({}));
    await expect(levada('iris', ...args)).rejects.toMatchObject({ code: 'Usage', message });
  });
});

describe('watcher', () => {
  it('draws one picture anew on a terminal, and leaves the last one', () => {
    let written = '';
    const terminal = Object.assign(new PassThrough(), { isTTY: true, columns: 120, rows: 40 });
    terminal.on('data', (data) => {
      written += data;
    });
    const screen = watcher(terminal as unknown as NodeJS.WriteStream, () => new Date(at(108)));
    for (const weight of [5, 25]) screen.show(rolling({ weight, appliedWeight: weight }));
    screen.close();
    screen.close();
    const pictures = stripVTControlCharacters(written).split('ModelDeployment iris: Progressing').slice(1);
    // What is the same is not written again, so the second one is in pieces.
    expect(pictures[0]).toMatch(/candidate +v2 +█▌·+ +5 %\ntrend +v2 +▁\n/);
    expect(stripVTControlCharacters(written)).toMatch(/ 25 %/);
    expect(stripVTControlCharacters(written)).toMatch(/trend +v2 +▁▃/);
  });
});

describe('beside the other commands', () => {
  it('levada get has columns for it where there is one', async () => {
    await runs(rolling({}, { url: 'http://iris' }));
    const header = /^NAME +READY +PHASE +STABLE +CANDIDATE +WEIGHT +REASON +URL +AGE\n/;
    const { stdout } = await run(getCommand());
    expect(stdout).toMatch(header);
    expect(stdout).toMatch(/\niris +True +Progressing +v1 +v2 +25 +Because +http:\/\/iris +\d+s\n$/);
    expect((await run(getCommand(), '-o', 'wide')).stdout).toMatch(header);
    await runs(rolling(undefined, { rollout: { phase: 'Stable', stable: 'v2' } }));
    expect((await run(getCommand())).stdout).toMatch(/^NAME +READY +STABLE +REASON +URL +AGE\n/);
  });

  it('levada status says where it is, and what its gates say', async () => {
    await runs(rolling({}));
    const { stdout } = await run(statusCommand(), 'iris');
    expect(stdout).toMatch(
      /\nrollout: Progressing: v2 25 %; step 2 of 3; 25 % until \S+\n\nGATE +VERDICT .*\nerrorRate +Pass /,
    );
    await runs(rolling(undefined, { stableVersion: 'v2' }));
    expect((await run(statusCommand(), 'iris')).stdout).not.toMatch(/rollout|GATE/);
  });
});
