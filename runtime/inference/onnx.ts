/** The one file that imports ONNX Runtime. */
import * as ort from 'onnxruntime-node';
import { LevadaError, messageOf } from '../../api/errors.ts';
import { datatypeInfo, datatypeOfOrt, type Tensor, type TensorData, type TensorInfo } from './tensors.ts';

export interface RunResult {
  readonly outputs: Tensor[];
  /** Milliseconds that the model has run, without the wait before. */
  readonly ms: number;
  /** Milliseconds of this thread's CPU in that time: on a busy machine `ms` also holds what others have taken. */
  readonly cpuMs: number;
}

/** A loaded model. Runs are serialised by the caller; inputs and outputs are in the order of the model's own lists. */
export interface Session {
  readonly inputs: readonly TensorInfo[];
  readonly outputs: readonly TensorInfo[];
  /** Rejects with whatever ONNX Runtime has thrown. */
  run(inputs: readonly Tensor[]): Promise<RunResult>;
  close(): Promise<void>;
}

/**
 * Loads the ONNX model in `bytes`. Blocks the thread while it loads, and while it runs: ONNX Runtime's binding for Node
 * defers each run by one turn of the event loop and then runs it synchronously.
 *
 * @param path names the model in errors
 * @throws LevadaError ModelInvalid, ModelUnsupported
 */
export async function openSession(bytes: Uint8Array, path: string, threads: number): Promise<Session> {
  await refuseExternalData(bytes, path);
  const session = await create(bytes, path, threads);
  const inputs = tensorInfos(session.inputMetadata, 'input', path);
  const outputs = tensorInfos(session.outputMetadata, 'output', path);
  return {
    inputs,
    outputs,
    async run(given) {
      const feeds: Record<string, ort.Tensor> = {};
      for (let i = 0; i < inputs.length; i++) {
        const tensor = given[i] as Tensor;
        feeds[(inputs[i] as TensorInfo).name] = toOrt(tensor);
      }
      // The binding runs the model in an immediate of its own; this one comes right before it.
      let start = 0;
      let cpu: NodeJS.CpuUsage | undefined;
      setImmediate(() => {
        start = performance.now();
        cpu = process.threadCpuUsage();
      });
      const results = await session.run(feeds);
      const ms = performance.now() - start;
      const used = process.threadCpuUsage(cpu);
      const tensors = outputs.map(({ name, datatype }) => {
        const result = results[name] as ort.Tensor;
        return { datatype, shape: result.dims, data: result.data as TensorData };
      });
      return { outputs: tensors, ms, cpuMs: (used.user + used.system) / 1000 };
    },
    close: () => session.release(),
  };
}

/**
 * Tensors in other files are refused: ONNX Runtime would read them from the working directory, and no digest covers them.
 * Such a file holds the word "location"; only then is it worth loading what reads the file in full.
 */
async function refuseExternalData(bytes: Uint8Array, path: string): Promise<void> {
  if (!Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).includes('location')) return;
  const { hasExternalData } = await import('./onnx-file.ts');
  let external: boolean;
  try {
    external = hasExternalData(bytes);
  } catch {
    return; // not a protobuf message: ONNX Runtime says so
  }
  if (!external) return;
  const detail = 'its tensors are in other files; export it as one file (onnx.save with save_as_external_data=False)';
  throw new LevadaError('ModelUnsupported', { path, detail });
}

async function create(bytes: Uint8Array, path: string, threads: number): Promise<ort.InferenceSession> {
  try {
    return await ort.InferenceSession.create(bytes, {
      executionMode: 'sequential',
      intraOpNumThreads: threads,
      interOpNumThreads: 1,
      logSeverityLevel: 4,
      // Spinning threads keep cores busy for a second after each run; research/performance.md has the measurement.
      extra: { session: { intra_op: { allow_spinning: '0' }, inter_op: { allow_spinning: '0' } } },
    });
  } catch (error) {
    throw new LevadaError('ModelInvalid', { path, detail: firstLine(messageOf(error)) }, { cause: error });
  }
}

function tensorInfos(
  metadata: readonly ort.InferenceSession.ValueMetadata[],
  what: string,
  path: string,
): TensorInfo[] {
  return metadata.map((value) => {
    if (!value.isTensor) {
      const detail = `${what} ${value.name} is a sequence or a map, not a tensor; for scikit-learn export with zipmap=False`;
      throw new LevadaError('ModelUnsupported', { path, detail });
    }
    const datatype = datatypeOfOrt(value.type);
    if (!datatype) {
      const detail = `${what} ${value.name} has the type ${value.type}, which the Open Inference Protocol does not have`;
      throw new LevadaError('ModelUnsupported', { path, detail });
    }
    return { name: value.name, datatype, shape: value.shape.map((dim) => (typeof dim === 'number' ? dim : -1)) };
  });
}

function toOrt({ datatype, shape, data }: Tensor): ort.Tensor {
  // The typings list each constructor by a literal; the table has checked that type and data belong together.
  const tensor = new ort.Tensor(datatypeInfo(datatype).ort as 'float32', data as Float32Array, shape as number[]);
  // The native part takes a Float16Array for an empty one. It wants the bits, which the constructor would convert.
  if (data instanceof Float16Array) {
    (tensor as unknown as { cpuData: Uint16Array }).cpuData = new Uint16Array(
      data.buffer,
      data.byteOffset,
      data.length,
    );
  }
  return tensor;
}

const firstLine = (text: string): string => (text.split('\n', 1)[0] ?? '').slice(0, 500);
