import { readFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import type { ModelServerConfig } from '../../api/contract/model-server.ts';
import { LevadaError, messageOf } from '../../api/errors.ts';
import { type Artifact, readArtifact } from './artifact.ts';
import { Batcher, type BatchObserver } from './batcher.ts';
import { openSession, type RunResult, type Session } from './onnx.ts';
import { type Probe, probe } from './probe.ts';
import type { Tensor, TensorInfo } from './tensors.ts';
import { openWorkerSession } from './worker.ts';

/** A run that takes longer leaves the event loop for a thread, so that health checks stay quick. */
const inlineLimitMs = 4;
/** Runs in a row over the limit before a model that was quick at first is moved. */
const slowRunsToMove = 3;
/** Threads of a model that does not run on the event loop; one core is left to that. */
const modelThreads = Math.max(1, availableParallelism() - 1);
/** Rows that may wait: enough for a burst, little enough that the last of them is not answered after its deadline. */
const queuedBatches = 16;

export interface Model {
  readonly inputs: readonly TensorInfo[];
  readonly outputs: readonly TensorInfo[];
  readonly sha256: string;
  readonly classNames: readonly string[] | undefined;
  readonly batcher: Batcher;
  /** Whether runs are in a thread of their own. */
  readonly threaded: () => boolean;
  close(): Promise<void>;
}

export interface ModelOptions {
  readonly observer: BatchObserver;
  /** The model's thread has died: the process cannot serve any more. */
  readonly onLost: (error: Error) => void;
  /** Something that is not as one would expect, for the log. */
  readonly onNote: (note: string) => void;
  /** The digest is known: said before the model is loaded, which may fail. */
  readonly onDigest: (sha256: string) => void;
}

/**
 * Reads, checks, loads, probes and warms up the model of `config`.
 *
 * @throws LevadaError of the group "models" in api/errors.ts
 */
export async function loadModel(config: ModelServerConfig, options: ModelOptions): Promise<Model> {
  const [artifact, classNames] = await Promise.all([readArtifact(config.path), readClassNames(config)]);
  options.onDigest(artifact.sha256);
  checkDigest(config, artifact);
  // In a thread first, whatever it is: nobody knows yet how long it loads and runs.
  const worker = await openWorkerSession(artifact.bytes, artifact.path, modelThreads, options.onLost);
  let probed: Probe;
  try {
    probed = await probe(worker, config.batching.maxBatchSize, artifact.path);
  } catch (error) {
    await worker.close();
    throw error;
  }
  const runner = new Runner(worker, artifact, options);
  for (const note of probed.notes) options.onNote(note);
  if (probed.runMs > 0 && probed.runMs <= inlineLimitMs) await runner.moveInline(artifact.bytes);
  const { maxBatchSize, maxDelayMs } = config.batching;
  const batcher = new Batcher(
    (inputs) => runner.run(inputs),
    { joinable: probed.joinable, maxBatchSize, maxDelayMs, maxQueuedRows: queuedBatches * Math.max(64, maxBatchSize) },
    options.observer,
  );
  return {
    inputs: worker.inputs,
    outputs: worker.outputs,
    sha256: artifact.sha256,
    classNames,
    batcher,
    threaded: () => runner.threaded,
    close: () => runner.close(),
  };
}

/** Runs the model where it hurts least: quick ones on the event loop, others in a thread. */
class Runner {
  #session: Session;
  #threaded = true;
  #slowRuns = 0;
  /** A session in a thread that is ready to take over. */
  #next: Session | undefined;
  readonly #artifact: Pick<Artifact, 'path' | 'sha256'>;
  readonly #options: ModelOptions;

  constructor(worker: Session, { path, sha256 }: Artifact, options: ModelOptions) {
    this.#session = worker;
    this.#artifact = { path, sha256 };
    this.#options = options;
  }

  get threaded(): boolean {
    return this.#threaded;
  }

  async moveInline(bytes: Uint8Array): Promise<void> {
    const worker = this.#session;
    this.#session = await openSession(bytes, this.#artifact.path, 1);
    this.#threaded = false;
    await worker.close();
  }

  async run(inputs: readonly Tensor[]): Promise<RunResult> {
    if (this.#next) {
      const old = this.#session;
      this.#session = this.#next;
      this.#next = undefined;
      this.#threaded = true;
      await old.close();
    }
    const result = await this.#session.run(inputs);
    if (!this.#threaded) {
      this.#slowRuns = result.cpuMs > inlineLimitMs ? this.#slowRuns + 1 : 0;
      if (this.#slowRuns === slowRunsToMove) void this.#prepareThread();
    }
    return result;
  }

  /** Requests have turned out larger than the probe. Runs go on inline until the thread is ready. Never rejects. */
  async #prepareThread(): Promise<void> {
    const { path, sha256 } = this.#artifact;
    try {
      const artifact = await readArtifact(path);
      if (artifact.sha256 !== sha256) {
        throw new LevadaError('ArtifactChanged', { path, found: artifact.sha256, resolved: sha256 });
      }
      this.#next = await openWorkerSession(artifact.bytes, path, modelThreads, this.#options.onLost);
    } catch (error) {
      this.#options.onNote(`slow runs stay on the event loop: ${messageOf(error)}`);
    }
  }

  async close(): Promise<void> {
    await this.#next?.close();
    await this.#session.close();
  }
}

function checkDigest({ sha256, resolvedSha256 }: ModelServerConfig, artifact: Artifact): void {
  const { path, sha256: found } = artifact;
  if (sha256 !== undefined && found !== sha256)
    throw new LevadaError('DigestMismatch', { path, found, allowed: sha256 });
  if (resolvedSha256 !== undefined && found !== resolvedSha256) {
    throw new LevadaError('ArtifactChanged', { path, found, resolved: resolvedSha256 });
  }
}

const maxClassNames = 10_000;

async function readClassNames({ classNames, classNamesPath: path }: ModelServerConfig): Promise<string[] | undefined> {
  if (path === undefined) return classNames;
  const bytes = await readFile(path).catch((error: unknown) => {
    throw new LevadaError(
      'ClassNamesInvalid',
      { path, detail: messageOf(error).split(',')[0] ?? '' },
      { cause: error },
    );
  });
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    throw new LevadaError('ClassNamesInvalid', { path, detail: 'it is not UTF-8' }, { cause: error });
  }
  const names = text.replace(/\r?\n$/, '').split(/\r?\n/);
  const empty = names.findIndex((name) => name.trim() === '');
  if (empty >= 0) throw new LevadaError('ClassNamesInvalid', { path, detail: `line ${empty + 1} is empty` });
  if (names.length > maxClassNames) {
    throw new LevadaError('ClassNamesInvalid', {
      path,
      detail: `${names.length} lines; at most ${maxClassNames} are read`,
    });
  }
  return names;
}
