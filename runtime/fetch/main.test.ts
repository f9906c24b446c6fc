import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { file, Origin } from '../../test/support/origin.ts';
import { irisModel, root } from '../../test/support/up.ts';

describe('the process that fetches', () => {
  let folder: string;
  let origin: Origin;
  let model: Buffer;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'levada-fetch-'));
    await mkdir(join(folder, 'secret'));
    model = await readFile(irisModel(2));
    origin = await Origin.start(file(model, '"1"'));
  });
  afterEach(async () => {
    await origin[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  });

  /** As the init container of a pod is started. */
  async function run(change: object = {}, onStart: (kill: (signal: NodeJS.Signals) => void) => void = () => {}) {
    const source = { uri: `${origin.url}/iris.onnx`, secret: 'models' };
    const config = { kind: 'model-server', model: 'iris', version: 'v1', path: join(folder, 'model.onnx'), source };
    await writeFile(join(folder, 'unit.json'), JSON.stringify({ ...config, ...change }));
    const places = ['--config', 'unit.json', '--secret', 'secret', '--report', 'report'];
    const args = [join(root, 'runtime/fetch/main.ts'), ...places];
    const child = spawn(process.execPath, args, { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk));
    onStart((signal) => child.kill(signal));
    const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
    const report = await readFile(join(folder, 'report'), 'utf8').catch(() => undefined);
    return { code, output, report: report === undefined ? undefined : (JSON.parse(report) as object) };
  }

  it('fetches what the unit says, and nothing where it is there already', async () => {
    await writeFile(join(folder, 'secret/token'), 't-4711\n');
    const { code, output, report } = await run();
    expect({ code, report }).toEqual({ code: 0, report: undefined });
    expect(await readFile(join(folder, 'model.onnx'))).toEqual(model);
    expect(origin.asked[0]?.headers['authorization']).toBe('Bearer t-4711');
    expect(output).not.toContain('4711');
    const sha256 = createHash('sha256').update(model).digest('hex');
    expect((await run({ resolvedSha256: sha256 })).code).toBe(0);
    expect(origin.asked).toHaveLength(1);
    await writeFile(join(folder, 'model.onnx'), 'half a file');
    expect((await run({ resolvedSha256: sha256 })).code).toBe(0);
    expect(await readFile(join(folder, 'model.onnx'))).toEqual(model);
  });

  it('reports why it has failed, and no value of the Secret', async () => {
    expect(await run()).toMatchObject({
      code: 1,
      report: { code: 'SecretInvalid', message: expect.stringContaining('Secret models: it is not there') },
    });
    await writeFile(join(folder, 'secret/username'), 'eve');
    await writeFile(join(folder, 'secret/password'), 'p-4711');
    origin.answer((_, res) => res.writeHead(403).end('p-4711'));
    const { output, ...ended } = await run();
    const message = `${origin.url}/iris.onnx may not be read: the server answers 403`;
    expect(ended).toEqual({ code: 1, report: { code: 'ArtifactDenied', message } });
    const spoken = `${output} ${JSON.stringify(ended)}`;
    for (const secret of ['4711', Buffer.from('eve:p-4711').toString('base64')]) expect(spoken).not.toContain(secret);
  });

  it('ends when it is asked to', async () => {
    await writeFile(join(folder, 'secret/token'), 't');
    let kill = (_: NodeJS.Signals) => {};
    origin.answer(() => kill('SIGTERM'));
    const { code } = await run({}, (end) => {
      kill = end;
    });
    expect(code).toBe(143);
  });
});
