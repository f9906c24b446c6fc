import { type ChildProcess, spawn } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import { access, constants, mkdir, readFile, rename, rm, stat, unlink, utimes, writeFile } from 'node:fs/promises';
import { homedir, hostname } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { LevadaError, messageOf } from '../api/errors.ts';

export type PythonProfile = 'models' | 'fastapi' | 'aiohttp' | 'messaging' | 'seed' | 's3';

export interface PythonOptions {
  onProgress(line: string): void;
  signal?: AbortSignal | undefined;
}

/** The oldest Python that the pinned packages of a profile install on. */
const oldestMinor: Record<PythonProfile, number> = {
  ...{ models: 10, fastapi: 11, aiohttp: 11, messaging: 11, seed: 11 },
  s3: 10,
};
/** The newest Python that the pinned ONNX Runtime has a wheel for. */
const NEWEST_MINOR = 14;
const CANDIDATES = ['python3.13', 'python3.12', 'python3.11', 'python3.10', 'python3', 'python'];

/**
 * The path of a Python that has the packages of `hack/python/requirements-<profile>.txt`. The first call makes the
 * environment, which takes about half a minute; later calls find it.
 */
export async function ensurePython(profile: PythonProfile, options: PythonOptions): Promise<string> {
  const base = await findPython(oldestMinor[profile], options.signal);
  const requirements = fileURLToPath(new URL(`../hack/python/requirements-${profile}.txt`, import.meta.url));
  return ensureEnvironment({ name: profile, requirements, base, cache: cacheFolder() }, options);
}

function cacheFolder(): string {
  return process.env.LEVADA_CACHE_DIR || join(homedir(), '.cache', 'levada');
}

// ---------------------------------------------------------------------------------------------------------------------
// Finding an interpreter

export interface BasePython {
  readonly executable: string;
  readonly version: string;
  /** What else makes two interpreters of one version different: where they live, and for which machine. */
  readonly identity: string;
}

// `ensurepip` is missing where the distribution splits venv off (Debian without python3-venv).
const PROBE = `
import ensurepip, json, platform, sys, venv
print(json.dumps({'executable': sys.executable, 'version': list(sys.version_info[:3]),
  'identity': ' '.join([sys.implementation.name, sys.base_prefix, sys.platform, platform.machine()])}))
`;

/** The first usable interpreter: LEVADA_PYTHON and nothing else where that is set, or what PATH has. */
export async function findPython(oldest: number, signal?: AbortSignal): Promise<BasePython> {
  const chosen = process.env.LEVADA_PYTHON;
  const candidates = chosen ? [chosen] : CANDIDATES;
  const reasons: string[] = [];
  for (const candidate of candidates) {
    const found = await probe(candidate, oldest, signal);
    if (typeof found !== 'string') return found;
    reasons.push(`${candidate} ${found}`);
  }
  const detail = reasons.join('; ');
  throw new LevadaError('PythonNotFound', { detail: chosen ? `LEVADA_PYTHON: ${detail}` : detail });
}

/** The interpreter, or why it cannot be used. */
async function probe(command: string, oldest: number, signal?: AbortSignal): Promise<BasePython | string> {
  let run: PythonRun;
  try {
    run = await runPython(command, ['-I', '-c', PROBE], { signal, timeoutMs: 20_000 });
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'is not there' : `does not start (${messageOf(error)})`;
  }
  if (run.timedOut) return 'hangs';
  // A pyenv shim without a version behind it ends up here.
  if (run.status !== 0) return `fails (${run.stderr.at(-1)?.trim() || describeExit(run)})`;
  try {
    const answer = JSON.parse(run.stdout) as { executable: string; version: number[]; identity: string };
    const [major = 0, minor = 0] = answer.version;
    const version = answer.version.join('.');
    if (major !== 3 || minor < oldest || minor > NEWEST_MINOR) {
      return `is ${version}; allowed: 3.${oldest} to 3.${NEWEST_MINOR}`;
    }
    return { executable: answer.executable, version, identity: answer.identity };
  } catch {
    return 'is not a Python interpreter';
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Making an environment

export interface EnvironmentSpec {
  readonly name: string;
  /** Path of a pip requirements file. */
  readonly requirements: string;
  readonly base: BasePython;
  readonly cache: string;
}

/**
 * A folder a set of requirements and interpreter. In it, each attempt has a folder of its own, because environments
 * cannot be moved; `ready.json` names the attempt that succeeded and is written last. Two processes that both build are
 * thus harmless, and the lock only saves the second one the work.
 */
export async function ensureEnvironment(spec: EnvironmentSpec, options: PythonOptions): Promise<string> {
  try {
    const requirements = await readFile(spec.requirements, 'utf8');
    const key = createHash('sha256').update(JSON.stringify([requirements, spec.base.version, spec.base.identity]));
    const home = join(spec.cache, 'python', `${spec.name}-${key.digest('hex').slice(0, 16)}`);
    const ready = await readyPython(home);
    if (ready) return ready;
    await mkdir(home, { recursive: true });
    return await withLock(home, options, async (attempt) => {
      return (await readyPython(home)) ?? (await build(home, attempt, spec, options));
    });
  } catch (error) {
    options.signal?.throwIfAborted();
    if (error instanceof LevadaError) throw error;
    throw new LevadaError('PythonEnvironmentFailed', { detail: messageOf(error) }, { cause: error });
  }
}

const stampOf = (home: string) => join(home, 'ready.json');
const pythonOf = (home: string, attempt: string) => join(home, attempt, 'bin', 'python');

async function readyPython(home: string): Promise<string | undefined> {
  try {
    const stamp = JSON.parse(await readFile(stampOf(home), 'utf8')) as { environment: string };
    const python = pythonOf(home, stamp.environment);
    // Follows the link: the interpreter that the environment was made from may have been removed.
    await access(python, constants.X_OK);
    return python;
  } catch {
    return undefined;
  }
}

async function build(home: string, attempt: string, spec: EnvironmentSpec, options: PythonOptions): Promise<string> {
  const folder = join(home, attempt);
  const python = pythonOf(home, attempt);
  options.onProgress(`making a Python ${spec.base.version} environment for ${spec.name} (once)`);
  try {
    await step('python -m venv', spec.base.executable, ['-I', '-m', 'venv', folder], options);
    const quiet = ['--no-input', '--disable-pip-version-check', '--progress-bar=off'];
    await step('pip install', python, ['-I', '-m', 'pip', 'install', ...quiet, '-r', spec.requirements], options);
    const stamp = `${stampOf(home)}.${attempt}`;
    await writeFile(stamp, `${JSON.stringify({ environment: attempt, python: spec.base.version })}\n`);
    await rename(stamp, stampOf(home));
  } catch (error) {
    await removeAttempt(folder);
    throw error;
  }
  options.onProgress(`the Python environment is ready: ${folder}`);
  return python;
}

/** Best effort. `python -m venv` runs pip as a child, which may write a few seconds longer than its killed parent. */
async function removeAttempt(folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 200 }).catch(() => {});
}

async function step(what: string, python: string, args: string[], options: PythonOptions): Promise<void> {
  const onLine = (line: string) => {
    if (/^(Collecting|Installing) /.test(line)) options.onProgress(line.replace(/ \(from .*\)$/, ''));
  };
  const run = await runPython(python, args, { signal: options.signal, onStdoutLine: onLine });
  options.signal?.throwIfAborted();
  if (run.status === 0) return;
  // venv says what went wrong on stdout, pip on stderr.
  const output = run.stderr.some((line) => line.trim()) ? run.stderr : run.stdout.split('\n');
  throw new LevadaError('PythonEnvironmentFailed', {
    detail: `${what} ${describeExit(run)}\n${output.slice(-15).join('\n').trim()}`,
  });
}

// ---------------------------------------------------------------------------------------------------------------------
// The lock

const HEARTBEAT_MS = 2_000;
const SILENCE_MS = 30_000;

interface Holder {
  readonly pid: number;
  readonly host: string;
  readonly attempt: string;
}

/** Runs `work` with a fresh attempt's name while no other process does so in `home`. */
async function withLock<T>(home: string, options: PythonOptions, work: (attempt: string) => Promise<T>): Promise<T> {
  const lock = join(home, 'lock');
  const holder: Holder = { pid: process.pid, host: hostname(), attempt: `env-${randomUUID()}` };
  const content = JSON.stringify(holder);
  await acquire(lock, content, options);
  const heartbeat = setInterval(() => void utimes(lock, new Date(), new Date()).catch(() => {}), HEARTBEAT_MS);
  heartbeat.unref();
  try {
    return await work(holder.attempt);
  } finally {
    clearInterval(heartbeat);
    if ((await readFile(lock, 'utf8').catch(() => '')) === content) await unlink(lock).catch(() => {});
  }
}

async function acquire(lock: string, content: string, options: PythonOptions): Promise<void> {
  let seen = { beat: '', at: performance.now() };
  let said = false;
  for (;;) {
    options.signal?.throwIfAborted();
    try {
      await writeFile(lock, content, { flag: 'wx' });
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    const beat = await readBeat(lock);
    if (beat === undefined) continue;
    if (beat.text !== seen.beat) seen = { beat: beat.text, at: performance.now() };
    // Silence is measured by our own clock: wall clocks jump, and differ between the hosts that share a cache.
    if (isDead(beat.holder) || performance.now() - seen.at > SILENCE_MS) {
      await takeOver(lock, beat.holder);
      continue;
    }
    if (!said) options.onProgress(`waiting for process ${beat.holder?.pid ?? '?'}, which makes the same environment`);
    said = true;
    await delay(200, undefined, { signal: options.signal });
  }
}

async function readBeat(lock: string): Promise<{ text: string; holder: Holder | undefined } | undefined> {
  try {
    const [content, { mtimeMs }] = [await readFile(lock, 'utf8'), await stat(lock)];
    return { text: `${content} ${mtimeMs}`, holder: parseHolder(content) };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

function parseHolder(content: string): Holder | undefined {
  try {
    return JSON.parse(content) as Holder;
  } catch {
    return undefined; // caught between its creation and its first write
  }
}

function isDead(holder: Holder | undefined): boolean {
  if (!holder || holder.host !== hostname()) return false;
  try {
    process.kill(holder.pid, 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH';
  }
}

async function takeOver(lock: string, holder: Holder | undefined): Promise<void> {
  const aside = `${lock}.${randomUUID()}`;
  try {
    await rename(lock, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return; // somebody else was quicker
    throw error;
  }
  await unlink(aside);
  if (/^env-[0-9a-f-]+$/.test(holder?.attempt ?? '')) {
    await removeAttempt(join(dirname(lock), holder?.attempt ?? ''));
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Running Python

export interface PythonRun {
  readonly status: number | null;
  readonly killedBy: NodeJS.Signals | null;
  readonly timedOut: boolean;
  readonly stdout: string;
  /** The last lines. */
  readonly stderr: readonly string[];
}

export interface RunOptions {
  readonly onStdoutLine?: (line: string) => void;
  readonly onStderrLine?: (line: string) => void;
  readonly signal?: AbortSignal | undefined;
  readonly timeoutMs?: number;
}

/** Runs Python to its end. Rejects only when it does not start or when `signal` says stop. */
export async function runPython(python: string, args: readonly string[], options: RunOptions): Promise<PythonRun> {
  options.signal?.throwIfAborted();
  const child = spawn(python, args, { stdio: ['ignore', 'pipe', 'pipe'], env: pythonEnvironment() });
  let timedOut = false;
  const stop = () => child.kill('SIGKILL');
  const timer =
    options.timeoutMs &&
    setTimeout(() => {
      timedOut = true;
      stop();
    }, options.timeoutMs);
  options.signal?.addEventListener('abort', stop);
  try {
    const stdout = collect(child.stdout, Number.POSITIVE_INFINITY, options.onStdoutLine);
    const stderr = collect(child.stderr, 40, options.onStderrLine);
    const [status, killedBy] = await ended(child);
    options.signal?.throwIfAborted();
    return { status, killedBy, timedOut, stdout: (await stdout).join('\n'), stderr: await stderr };
  } finally {
    clearTimeout(timer || undefined);
    options.signal?.removeEventListener('abort', stop);
  }
}

/** Without the caller's PYTHON* variables, which are for another Python; sets iterate in the same order every time. */
function pythonEnvironment(): NodeJS.ProcessEnv {
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('PYTHON'));
  const own = { PYTHONHASHSEED: '0', PYTHONNOUSERSITE: '1', PYTHONDONTWRITEBYTECODE: '1' };
  return { ...Object.fromEntries(inherited), ...own };
}

function ended(child: ChildProcess): Promise<[number | null, NodeJS.Signals | null]> {
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (status, signal) => resolve([status, signal]));
  });
}

async function collect(stream: NodeJS.ReadableStream, limit: number, onLine?: (line: string) => void) {
  const lines: string[] = [];
  for await (const line of createInterface({ input: stream, crlfDelay: Number.POSITIVE_INFINITY })) {
    onLine?.(line);
    lines.push(line);
    if (lines.length > limit) lines.shift();
  }
  return lines;
}

export function describeExit(run: Pick<PythonRun, 'status' | 'killedBy' | 'timedOut'>): string {
  if (run.timedOut) return 'did not finish in time';
  return run.killedBy ? `was killed by ${run.killedBy}` : `exited with ${run.status}`;
}
