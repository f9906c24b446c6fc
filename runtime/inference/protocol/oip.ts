/**
 * Open Inference Protocol v2, REST: bodies in and out. Where the specification is silent, KServe's and Triton's answers
 * are the model (400 for what is wrong in the request).
 */
import { LevadaError } from '../../../api/errors.ts';
import { show } from '../../../api/rules.ts';
import {
  allocate,
  type Datatype,
  datatypeInfo,
  isPlainString,
  showShape,
  type Tensor,
  type TensorData,
  type TensorInfo,
} from '../tensors.ts';
import { elementsJson, parseJson, parseJsonExact } from './json.ts';

export interface Signature {
  readonly inputs: readonly TensorInfo[];
  readonly outputs: readonly TensorInfo[];
}

export interface InferRequest {
  readonly id: string | undefined;
  /** In the order of the model's inputs. */
  readonly inputs: readonly Tensor[];
  /** First dimension of the inputs. */
  readonly rows: number;
  /** Indexes into the model's outputs, in the order to answer. */
  readonly outputs: readonly number[];
}

/** An element that JSON.parse has rounded: the body must be read again, exactly. */
const inexact = Symbol('inexact');
/** Elements in one input at most; a body of the largest size holds fewer. */
const maxElements = 2 ** 28;

/**
 * @throws LevadaError of the group "wire" in api/errors.ts, which names the field
 */
export function parseInfer(text: string, signature: Signature): InferRequest {
  try {
    return readInfer(parseJson(text), signature, false);
  } catch (error) {
    if (error !== inexact) throw error;
  }
  return readInfer(parseJsonExact(text), signature, true);
}

function readInfer(body: unknown, signature: Signature, exact: boolean): InferRequest {
  const { id, inputs, outputs } = fields(body, 'the body', ['id', 'parameters', 'inputs', 'outputs']);
  if (id !== undefined && typeof id !== 'string') throw invalid('id', id, 'a string');
  const tensors = readInputs(inputs, signature.inputs, exact);
  return { id, inputs: tensors, rows: tensors[0]?.shape[0] ?? 1, outputs: readOutputs(outputs, signature.outputs) };
}

function readInputs(value: unknown, infos: readonly TensorInfo[], exact: boolean): Tensor[] {
  if (!Array.isArray(value)) throw invalid('inputs', value, 'a list of tensors');
  const tensors: (Tensor | undefined)[] = infos.map(() => undefined);
  for (let i = 0; i < value.length; i++) {
    const path = `inputs[${i}]`;
    const input = fields(value[i], path, ['name', 'shape', 'datatype', 'parameters', 'data']);
    const index = infos.findIndex(({ name }) => name === input['name']);
    const info = infos[index];
    if (!info) {
      throw new LevadaError('UnknownInput', {
        field: `${path}.name`,
        found: show(input['name']),
        allowed: names(infos),
      });
    }
    if (tensors[index]) throw invalid(`${path}.name`, input['name'], 'every input once');
    if (input['datatype'] !== info.datatype) {
      throw new LevadaError('WrongDatatype', {
        field: `${path}.datatype`,
        found: show(input['datatype']),
        allowed: info.datatype,
      });
    }
    const shape = readShape(input['shape'], info, path);
    tensors[index] = {
      datatype: info.datatype,
      shape,
      data: readData(input['data'], shape, info.datatype, path, exact),
    };
  }
  const missing = infos.filter((_, index) => !tensors[index]);
  if (missing.length > 0) throw new LevadaError('MissingInput', { found: names(missing), allowed: names(infos) });
  const complete = tensors as Tensor[];
  const [first] = complete;
  const uneven = complete.findIndex(
    ({ shape }, i) => infos[i]?.shape[0] === -1 && infos[0]?.shape[0] === -1 && shape[0] !== first?.shape[0],
  );
  if (uneven > 0) {
    const found = `${complete[uneven]?.shape[0]} rows`;
    throw new LevadaError('WrongShape', {
      field: infos[uneven]?.name ?? '',
      found,
      allowed: `${first?.shape[0]} rows, as ${infos[0]?.name}`,
    });
  }
  return complete;
}

function readShape(value: unknown, info: TensorInfo, path: string): number[] {
  const field = `${path}.shape`;
  if (!Array.isArray(value) || value.length > 32) throw invalid(field, value, `a list like ${showShape(info.shape)}`);
  let product = 1;
  for (let i = 0; i < value.length; i++) {
    const dim: unknown = value[i];
    if (typeof dim !== 'number' || !Number.isInteger(dim) || dim < 1)
      throw invalid(`${field}[${i}]`, dim, 'a whole number, at least 1');
    product *= dim;
  }
  const fits = value.length === info.shape.length && info.shape.every((dim, i) => dim === -1 || dim === value[i]);
  if (!fits)
    throw new LevadaError('WrongShape', {
      field,
      found: showShape(value.slice(0, 8)),
      allowed: `${showShape(info.shape)}, -1 is free`,
    });
  if (product > maxElements) {
    throw new LevadaError('WrongShape', {
      field,
      found: `${showShape(value)}, ${product} elements`,
      allowed: `at most ${maxElements} elements`,
    });
  }
  return value;
}

/** `data` may be flat or nested as `shape` says; both are row-major. */
function readData(
  value: unknown,
  shape: readonly number[],
  datatype: Datatype,
  path: string,
  exact: boolean,
): TensorData {
  const field = `${path}.data`;
  if (!Array.isArray(value)) throw invalid(field, value, 'a list of elements');
  let count = 1;
  for (const dim of shape) count *= dim;
  const nested = Array.isArray(value[0]) && shape.length > 1;
  // Before anything is allocated: a shape alone must not make the server reserve memory.
  const expected = nested ? (shape[0] ?? 0) : count;
  if (value.length !== expected) {
    throw new LevadaError('WrongShape', {
      field,
      found: `${value.length} elements`,
      allowed: `${expected}, as shape ${showShape(shape)} says`,
    });
  }
  if (nested) checkNesting(value, shape, 0, field);
  const data = allocate(datatype, count);
  const { class: kind } = datatypeInfo(datatype);
  const write: Write = writers[exact && kind === 'bigint' ? 'exactBigint' : kind];
  if (nested) writeNested(value, shape.length - 1, { data, datatype, write, offset: 0 }, field);
  else for (let i = 0; i < count; i++) write(data, i, value[i], datatype, field, i);
  return data;
}

/** The recursion is as deep as the model's rank, whatever the body holds. */
function checkNesting(list: readonly unknown[], shape: readonly number[], depth: number, field: string): void {
  if (depth === shape.length - 1) return;
  const expected = shape[depth + 1] as number;
  for (let i = 0; i < list.length; i++) {
    const inner = list[i];
    if (!Array.isArray(inner)) throw invalid(`${field}[${i}]`, inner, `a list of ${expected}`);
    if (inner.length !== expected) {
      throw new LevadaError('WrongShape', {
        field: `${field}[${i}]`,
        found: `${inner.length} elements`,
        allowed: String(expected),
      });
    }
    checkNesting(inner, shape, depth + 1, `${field}[${i}]`);
  }
}

type Write = (
  data: TensorData,
  offset: number,
  value: unknown,
  datatype: Datatype,
  field: string,
  index: number,
) => void;
interface Target {
  readonly data: TensorData;
  readonly datatype: Datatype;
  readonly write: Write;
  offset: number;
}

function writeNested(list: readonly unknown[], depth: number, target: Target, field: string): void {
  for (let i = 0; i < list.length; i++) {
    if (depth === 0) target.write(target.data, target.offset++, list[i], target.datatype, field, i);
    else writeNested(list[i] as unknown[], depth - 1, target, `${field}[${i}]`);
  }
}

const writers: Record<'float' | 'int' | 'bigint' | 'exactBigint' | 'bool' | 'string', Write> = {
  float(data, offset, value, datatype, field, index) {
    const numbers = data as Float64Array;
    if (typeof value === 'number') {
      numbers[offset] = value;
      if (Number.isFinite(numbers[offset])) return; // also after rounding to the type
    } else if (typeof value === 'bigint') {
      numbers[offset] = Number(value);
      if (Number.isFinite(numbers[offset])) return;
    }
    const { max } = datatypeInfo(datatype);
    throw invalid(`${field}[${index}]`, value, `a finite number of ${datatype}, at most ${max} either way`);
  },
  int(data, offset, value, datatype, field, index) {
    const { min, max } = datatypeInfo(datatype);
    if (typeof value !== 'number' || !Number.isInteger(value) || value < Number(min) || value > Number(max)) {
      throw invalid(`${field}[${index}]`, value, `a whole number of ${datatype}, ${min} to ${max}`);
    }
    (data as Int32Array)[offset] = value;
  },
  bigint(data, offset, value, datatype, field, index) {
    if (typeof value === 'number' && Number.isInteger(value) && !Number.isSafeInteger(value)) throw inexact;
    writers.exactBigint(data, offset, value, datatype, field, index);
  },
  /** 1e18 is still a number here, because it is not written as an integer, and is refused. */
  exactBigint(data, offset, value, datatype, field, index) {
    const { min, max } = datatypeInfo(datatype);
    const integer =
      typeof value === 'bigint' ? value : Number.isSafeInteger(value) ? BigInt(value as number) : undefined;
    if (integer === undefined || integer < min || integer > max) {
      throw invalid(`${field}[${index}]`, value, `a whole number of ${datatype}, ${min} to ${max}, without exponent`);
    }
    (data as BigInt64Array)[offset] = integer;
  },
  bool(data, offset, value, _datatype, field, index) {
    if (typeof value !== 'boolean') throw invalid(`${field}[${index}]`, value, 'true or false');
    (data as Uint8Array)[offset] = value ? 1 : 0;
  },
  string(data, offset, value, _datatype, field, index) {
    if (typeof value !== 'string' || !isPlainString(value))
      throw invalid(`${field}[${index}]`, value, 'a string without NUL and lone surrogates');
    (data as string[])[offset] = value;
  },
};

function readOutputs(value: unknown, infos: readonly TensorInfo[]): number[] {
  if (value === undefined) return infos.map((_, index) => index);
  if (!Array.isArray(value)) throw invalid('outputs', value, 'a list of outputs');
  const wanted: number[] = [];
  for (let i = 0; i < value.length; i++) {
    const path = `outputs[${i}]`;
    const { name } = fields(value[i], path, ['name', 'parameters']);
    const index = infos.findIndex((info) => info.name === name);
    if (index < 0)
      throw new LevadaError('UnknownOutput', { field: `${path}.name`, found: show(name), allowed: names(infos) });
    if (wanted.includes(index)) throw invalid(`${path}.name`, name, 'every output once');
    wanted.push(index);
  }
  return wanted.length > 0 ? wanted : infos.map((_, index) => index);
}

/** The fields of an object, none but `allowed`; parameters that ask for binary tensors are refused. */
function fields(value: unknown, path: string, allowed: readonly string[]): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid(path, value, 'a JSON object');
  const object = value as Record<string, unknown>;
  for (const name in object) if (!allowed.includes(name)) throw invalid(path, name, `the fields ${allowed.join(', ')}`);
  const { parameters } = object;
  if (parameters === undefined) return object;
  if (typeof parameters !== 'object' || parameters === null || Array.isArray(parameters))
    throw invalid(`${path}.parameters`, parameters, 'a JSON object');
  for (const [name, parameter] of Object.entries(parameters)) {
    const binary =
      name === 'binary_data_size' || ((name === 'binary_data' || name === 'binary_data_output') && parameter);
    if (binary) throw invalid(`${path}.parameters`, name, 'tensors as JSON; binary tensors are not supported');
  }
  return object;
}

const names = (infos: readonly TensorInfo[]): string => infos.map(({ name }) => name).join(', ');

const invalid = (field: string, found: unknown, allowed: string): LevadaError =>
  new LevadaError('InvalidInput', { field, found: show(found), allowed });

/**
 * Serialises answers of one model: everything that does not change is prepared.
 *
 * @param joined whether outputs hold rows of several requests; else they are the request's, whole
 */
export function inferSerializer(model: string, version: string, infos: readonly TensorInfo[], joined: boolean) {
  const head = `{"model_name":${JSON.stringify(model)},"model_version":${JSON.stringify(version)}`;
  const opening = infos.map(
    ({ name, datatype }) => `{"name":${JSON.stringify(name)},"datatype":"${datatype}","shape":[`,
  );
  /**
   * @param tensors the outputs of a run that the request shared
   * @param row the first of its rows
   * @throws LevadaError OutputNotFinite
   */
  return (request: InferRequest, tensors: readonly Tensor[], row: number): string => {
    let text =
      request.id === undefined ? `${head},"outputs":[` : `${head},"id":${JSON.stringify(request.id)},"outputs":[`;
    let first = true;
    for (const index of request.outputs) {
      const tensor = tensors[index] as Tensor;
      const { shape } = tensor;
      let width = 1;
      for (let i = 1; i < shape.length; i++) width *= shape[i] as number;
      const from = joined ? row * width : 0;
      const to = joined ? from + request.rows * width : tensor.data.length;
      let dims = joined ? `${request.rows}` : `${shape[0] ?? ''}`;
      for (let i = 1; i < shape.length; i++) dims += `,${shape[i]}`;
      if (!first) text += ',';
      first = false;
      text += `${opening[index]}${dims}],"data":[${elementsJson(tensor, infos[index] as TensorInfo, from, to)}]}`;
    }
    return `${text}]}`;
  };
}

/** Body of GET /v2/models/NAME. */
export const modelMetadata = (model: string, version: string, { inputs, outputs }: Signature) => ({
  name: model,
  versions: [version],
  platform: 'onnx_onnxv1',
  inputs: inputs.map(({ name, datatype, shape }) => ({ name, datatype, shape })),
  outputs: outputs.map(({ name, datatype, shape }) => ({ name, datatype, shape })),
});
