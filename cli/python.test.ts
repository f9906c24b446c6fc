import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, mkdir, mkdtemp, readdir, readFile, rename, rm, symlink, unlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { requirePython } from '../test/support/models.ts';
import { type BasePython, ensureEnvironment, findPython, runPython } from './python.ts';

// A wheel made of nothing but the standard library, so that pip really installs something without a network.
const MAKE_WHEEL = `
import sys, zipfile
with zipfile.ZipFile(sys.argv[1], 'w') as wheel:
    info = 'levada_tiny-1.0.dist-info'
    wheel.writestr('levada_tiny.py', 'answer = 42')
    wheel.writestr(info + '/METADATA', 'Metadata-Version: 2.1\\nName: levada-tiny\\nVersion: 1.0\\n')
    wheel.writestr(info + '/WHEEL', 'Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')
    wheel.writestr(info + '/RECORD', '')
`;

const WHEEL = 'levada_tiny-1.0-py3-none-any.whl';

let folder: string;
let base: BasePython;
const progress: string[] = [];
const options = { onProgress: (line: string) => void progress.push(line) };

beforeEach(async (context) => {
  base = await requirePython(context);
  folder = await mkdtemp(join(tmpdir(), 'levada-python-'));
  progress.length = 0;
});

afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true, force: true });
});

async function specOf(text: string) {
  const wheel = join(folder, WHEEL);
  await runPython(base.executable, ['-c', MAKE_WHEEL, wheel], {});
  const requirements = join(folder, 'requirements.txt');
  await writeFile(requirements, `--no-index\n--find-links ${folder}\n${text}\n`);
  return { name: 'tiny', requirements, base, cache: folder };
}

async function homeOf() {
  const [name] = await readdir(join(folder, 'python'));
  return join(folder, 'python', name!);
}

const answerOf = async (python: string) =>
  (await runPython(python, ['-I', '-c', 'import levada_tiny; print(levada_tiny.answer)'], {})).stdout;

/** Makes the environment in a process of its own, as a second `levada` would. */
function inProcess(spec: object) {
  const script = `import { ensureEnvironment } from ${JSON.stringify(new URL('./python.ts', import.meta.url).href)};
    const python = await ensureEnvironment(${JSON.stringify(spec)}, { onProgress: (line) => console.error(line) });
    console.log(python);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'ignore'] });
  const output = child.stdout.toArray().then((chunks) => Buffer.concat(chunks).toString().trim());
  return { child, output };
}

describe('findPython', () => {
  it('skips an interpreter that does not work and says so when none does', async () => {
    await writeFile(join(folder, 'python3.13'), '#!/bin/sh\necho "command not found" >&2\nexit 127\n', { mode: 0o755 });
    await writeFile(join(folder, 'python3'), '#!/bin/sh\necho hello\n', { mode: 0o755 });
    vi.stubEnv('PATH', folder);
    vi.stubEnv('LEVADA_PYTHON', '');
    await expect(findPython(10)).rejects.toMatchObject({
      code: 'PythonNotFound',
      message: expect.stringMatching(/python3\.13 fails \(command not found\).*python3 is not a Python interpreter/),
    });
    await symlink(base.executable, join(folder, 'python'));
    expect((await findPython(10)).version).toBe(base.version);
  });

  it('takes LEVADA_PYTHON and nothing else', async () => {
    vi.stubEnv('LEVADA_PYTHON', join(folder, 'nothing'));
    await expect(findPython(10)).rejects.toThrow(/LEVADA_PYTHON: .*nothing is not there/);
    vi.stubEnv('LEVADA_PYTHON', base.executable);
    await expect(findPython(10)).resolves.toEqual(base);
    await expect(findPython(99)).rejects.toThrow(`is ${base.version}; allowed: 3.99 to`);
  });
});

describe('ensureEnvironment', () => {
  it('makes an environment once, and again when its interpreter is gone', async () => {
    const spec = await specOf('levada-tiny==1.0');
    const python = await ensureEnvironment(spec, options);
    expect(await answerOf(python)).toBe('42');
    expect(progress.join('\n')).toMatch(/making a Python .*\nInstalling collected packages: levada-tiny/);
    progress.length = 0;
    expect(await ensureEnvironment(spec, options)).toBe(python);
    expect(progress).toEqual([]);

    await unlink(python);
    await symlink(join(folder, 'removed'), python);
    const again = await ensureEnvironment(spec, options);
    expect(again).not.toBe(python);
    expect(await answerOf(again)).toBe('42');
  });

  it('reports the end of what pip said, leaves nothing half made, and tries again', async () => {
    const spec = await specOf('levada-tiny==1.0');
    const wheel = join(folder, WHEEL);
    await rename(wheel, `${wheel}.away`);
    await expect(ensureEnvironment(spec, options)).rejects.toMatchObject({
      code: 'PythonEnvironmentFailed',
      message: expect.stringMatching(/pip install exited with 1\n.*levada-tiny==1\.0/s),
    });
    expect(await readdir(await homeOf())).toEqual([]);
    await rename(`${wheel}.away`, wheel);
    expect(await answerOf(await ensureEnvironment(spec, options))).toBe('42');
  });

  it('reports a cache folder that cannot be written', async () => {
    const spec = await specOf('levada-tiny==1.0');
    await writeFile(join(folder, 'python'), 'a file where the folder should be');
    await expect(ensureEnvironment(spec, options)).rejects.toMatchObject({
      code: 'PythonEnvironmentFailed',
      message: expect.stringMatching(/EEXIST|ENOTDIR/),
    });
  });

  it('stops when told to, and leaves nothing', async () => {
    const spec = await specOf('levada-tiny==1.0');
    const controller = new AbortController();
    const running = ensureEnvironment(spec, { ...options, signal: controller.signal });
    setTimeout(() => controller.abort(), 500);
    await expect(running).rejects.toThrow(/abort/i);
    expect(await readdir(await homeOf())).toEqual([]);
  });

  it('is made once when three processes ask at the same time', async () => {
    const spec = await specOf('levada-tiny==1.0');
    const runs = [inProcess(spec), inProcess(spec), inProcess(spec)];
    const pythons = await Promise.all(runs.map((run) => run.output));
    expect(new Set(pythons).size).toBe(1);
    expect(await answerOf(pythons[0]!)).toBe('42');
    expect((await readdir(await homeOf())).filter((name) => name !== 'ready.json')).toHaveLength(1);
  });

  it('takes over from a process that was killed', async () => {
    const spec = await specOf('levada-tiny==1.0');
    const { child } = inProcess(spec);
    const exited = once(child, 'exit');
    const attempt = await vi.waitFor(
      async () => {
        const holder = JSON.parse(await readFile(join(await homeOf(), 'lock'), 'utf8')) as { attempt: string };
        await access(join(await homeOf(), holder.attempt, 'pyvenv.cfg'));
        return holder.attempt;
      },
      { timeout: 20_000, interval: 20 },
    );
    child.kill('SIGKILL');
    await exited;
    const python = await ensureEnvironment(spec, options);
    expect(await answerOf(python)).toBe('42');
    expect(await readdir(await homeOf())).not.toContain(attempt);
  });

  it('waits for a lock that another host holds', async () => {
    const spec = await specOf('levada-tiny==1.0');
    const controller = new AbortController();
    const first = ensureEnvironment(spec, { ...options, signal: controller.signal });
    const home = await vi.waitFor(async () => {
      await access(join(await homeOf(), 'lock'));
      return homeOf();
    });
    controller.abort();
    await expect(first).rejects.toThrow();

    await writeFile(join(home, 'lock'), JSON.stringify({ pid: 1, host: 'another-host', attempt: 'env-0' }));
    const waiting = ensureEnvironment(spec, options);
    await vi.waitFor(() => expect(progress.at(-1)).toBe('waiting for process 1, which makes the same environment'));
    // What the other one does last.
    await mkdir(join(home, 'env-0', 'bin'), { recursive: true });
    await symlink(base.executable, join(home, 'env-0', 'bin', 'python'));
    await writeFile(join(home, 'ready.json'), JSON.stringify({ environment: 'env-0' }));
    await unlink(join(home, 'lock'));
    expect(await waiting).toBe(join(home, 'env-0', 'bin', 'python'));
  });
});
