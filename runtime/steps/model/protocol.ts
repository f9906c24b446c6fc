/** Answers of a model server: Open Inference Protocol v2, REST. */
import { LevadaError } from '../../../api/errors.ts';
import { JsonProblem, readJson } from '../../events/json.ts';
import { parseJsonExact } from '../../inference/protocol/json.ts';
import { type Datatype, datatypes, type TensorInfo } from '../../inference/tensors.ts';
import type { ModelSignature, OutputTensor } from './tensors.ts';

interface InferAnswer {
  readonly model: string;
  readonly version: string | undefined;
  /** `isInteger`: of 64 bits. */
  readonly outputs: readonly (OutputTensor & { readonly isInteger: boolean })[];
}

/** Body of GET /v2/models/NAME. @throws LevadaError ReplyInvalid */
export function parseMetadata(body: Uint8Array, url: string, version: string | undefined): ModelSignature {
  const metadata = object(parse(body, url), 'the metadata', url);
  const versions = metadata['versions'];
  const first: unknown = Array.isArray(versions) ? versions[0] : undefined;
  return {
    model: String(metadata['name']),
    version: version ?? (typeof first === 'string' ? first : ''),
    inputs: list(metadata['inputs'], 'inputs', url).map((entry, i) => tensorInfo(entry, `inputs[${i}]`, url)),
  };
}

function tensorInfo(value: unknown, path: string, url: string): TensorInfo {
  const { name, datatype, shape } = object(value, path, url);
  if (typeof name !== 'string') throw invalid(url, `${path}.name is not text`);
  if (typeof datatype !== 'string' || !Object.hasOwn(datatypes, datatype)) {
    throw invalid(url, `${path}.datatype is not one of ${Object.keys(datatypes).join(', ')}`);
  }
  const dims = list(shape, `${path}.shape`, url);
  if (!isShape(dims, -1)) throw invalid(url, `${path}.shape is not a list of dimensions`);
  return { name, datatype: datatype as Datatype, shape: dims };
}

/** Body of POST /v2/models/NAME/infer. Integers beyond 2^53 are bigints. @throws LevadaError ReplyInvalid */
export function parseAnswer(body: Uint8Array, url: string): InferAnswer {
  const answer = readAnswer(parse(body, url), url);
  // JSON.parse has rounded them. Few answers hold any, and only those are read again.
  const inexact = answer.outputs.some(({ data, isInteger }) => isInteger && !data.every(Number.isSafeInteger));
  return inexact ? readAnswer(parseJsonExact(Buffer.from(body).toString('utf8')), url) : answer;
}

function readAnswer(value: unknown, url: string): InferAnswer {
  const answer = object(value, 'the answer', url);
  const { model_name: model, model_version: version } = answer;
  const outputs = list(answer['outputs'], 'outputs', url).map((entry, i) => {
    const { name, datatype, shape, data } = object(entry, `outputs[${i}]`, url);
    const dims = list(shape, `outputs[${i}].shape`, url);
    if (typeof name !== 'string' || !isShape(dims, 0)) throw invalid(url, `outputs[${i}] has no name or no shape`);
    const elements = list(data, `outputs[${i}].data`, url).flat(dims.length);
    const count = dims.reduce((product, dim) => product * dim, 1);
    if (elements.length !== count) {
      throw invalid(url, `outputs[${i}] has ${elements.length} elements; its shape says ${count}`);
    }
    return { name, shape: dims, data: elements, isInteger: datatype === 'INT64' || datatype === 'UINT64' };
  });
  return {
    model: typeof model === 'string' ? model : '',
    version: typeof version === 'string' ? version : undefined,
    outputs,
  };
}

function parse(body: Uint8Array, url: string): unknown {
  try {
    return readJson(body);
  } catch (error) {
    if (error instanceof JsonProblem) throw invalid(url, error.message);
    throw error;
  }
}

const isShape = (dims: readonly unknown[], min: number): dims is number[] =>
  dims.every((dim) => Number.isSafeInteger(dim) && (dim as number) >= min);

function list(value: unknown, path: string, url: string): unknown[] {
  if (Array.isArray(value)) return value;
  throw invalid(url, `${path} is not a list`);
}

function object(value: unknown, path: string, url: string): Record<string, unknown> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw invalid(url, `${path} is not a JSON object`);
}

const invalid = (url: string, detail: string): LevadaError => new LevadaError('ReplyInvalid', { url, detail });
