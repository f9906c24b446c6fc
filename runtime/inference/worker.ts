/**
 * A session in a thread of its own, so that loading and long runs do not hold up the event loop.
 * This file is both sides: imported, it opens such a session; started as a worker, it holds one.
 */
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { type ErrorCode, type ErrorParams, errorCodeOf, LevadaError, messageOf } from '../../api/errors.ts';
import { openSession, type RunResult, type Session } from './onnx.ts';
import type { Tensor, TensorInfo } from './tensors.ts';

interface LoadRequest {
  levadaModel: true;
  bytes: Uint8Array;
  path: string;
  threads: number;
}

type Reply =
  | { type: 'loaded'; inputs: readonly TensorInfo[]; outputs: readonly TensorInfo[] }
  | { type: 'failed'; code: ErrorCode; params: ErrorParams }
  | { type: 'result'; result: RunResult }
  | { type: 'error'; message: string };

/**
 * Loads `bytes` in a new thread; they are copied.
 *
 * @param onLost called when the thread ends although nobody has closed the session
 * @throws LevadaError ModelInvalid, ModelUnsupported; InternalError when the thread dies
 */
export async function openWorkerSession(
  bytes: Uint8Array,
  path: string,
  threads: number,
  onLost: (error: Error) => void,
): Promise<Session> {
  const request: LoadRequest = { levadaModel: true, bytes, path, threads };
  const worker = new Worker(new URL(import.meta.url), { workerData: request });
  let closed = false;
  let waiting: { resolve(reply: Reply): void; reject(error: Error): void } | undefined;
  const ask = (send: () => void): Promise<Reply> =>
    new Promise((resolve, reject) => {
      waiting = { resolve, reject };
      send();
    });
  const fail = (error: Error) => {
    waiting?.reject(error);
    waiting = undefined;
  };
  worker.on('message', (reply: Reply) => {
    waiting?.resolve(reply);
    waiting = undefined;
  });
  worker.on('error', fail);
  worker.on('exit', (code) => {
    const error = new LevadaError('InternalError', { detail: `the model's thread ended (${code})` });
    fail(error);
    if (!closed) onLost(error);
  });

  const loaded = await ask(() => {});
  if (loaded.type === 'failed') {
    closed = true;
    await worker.terminate();
    throw new LevadaError(loaded.code, loaded.params);
  }
  if (loaded.type !== 'loaded') throw new LevadaError('InternalError', { detail: `unexpected ${loaded.type}` });
  return {
    inputs: loaded.inputs,
    outputs: loaded.outputs,
    async run(tensors) {
      const reply = await ask(() => worker.postMessage(tensors));
      if (reply.type === 'error') throw new Error(reply.message);
      if (reply.type !== 'result') throw new LevadaError('InternalError', { detail: `unexpected ${reply.type}` });
      return reply.result;
    },
    async close() {
      closed = true;
      await worker.terminate();
    },
  };
}

async function hold({ bytes, path, threads }: LoadRequest): Promise<void> {
  const send = (reply: Reply) => parentPort?.postMessage(reply);
  let session: Session;
  try {
    session = await openSession(bytes, path, threads);
  } catch (error) {
    const code = errorCodeOf(error) ?? 'InternalError';
    send({ type: 'failed', code, params: error instanceof LevadaError ? error.params : { detail: messageOf(error) } });
    return;
  }
  parentPort?.on('message', (tensors: Tensor[]) => {
    session.run(tensors).then(
      (result) => send({ type: 'result', result }),
      (error: unknown) => send({ type: 'error', message: messageOf(error) }),
    );
  });
  send({ type: 'loaded', inputs: session.inputs, outputs: session.outputs });
}

// Test runners have workers of their own: only one that was started with a model is ours.
if (!isMainThread && (workerData as LoadRequest | null)?.levadaModel) await hold(workerData as LoadRequest);
