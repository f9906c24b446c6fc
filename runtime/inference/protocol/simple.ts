/**
 * The simple API: POST /predict `{"features": […]}` → `{"prediction", "class_name"}`. It answers as a FastAPI service
 * with pydantic does, so that clients of one need not change: 422 and `detail` for whatever is wrong in the body.
 */
import { LevadaError } from '../../../api/errors.ts';
import { allocate, datatypeInfo, elements, isPlainString, type Tensor, type TensorInfo } from '../tensors.ts';
import type { Signature } from './oip.ts';

/** One entry of FastAPI's `detail`. */
interface Detail {
  type: string;
  loc: (string | number)[];
  msg: string;
  input?: unknown;
  ctx?: Record<string, unknown>;
}

/** The body is wrong: answered with 422. */
export class PredictInvalid extends Error {
  readonly detail: readonly Detail[];
  constructor(detail: readonly Detail[]) {
    super(detail[0]?.msg);
    this.detail = detail;
  }
}

/** How a model's inputs and outputs map to the simple API; found once, when the model is loaded. */
export interface SimpleModel {
  /** @throws PredictInvalid */
  parse(body: unknown): Tensor[];
  /** Rows of the inputs that {@link parse} makes: 1, or the model's fixed batch, all of them the same row. */
  readonly rows: number;
  /** Body of the answer. @throws LevadaError OutputNotFinite */
  answer(outputs: readonly Tensor[], row: number): string;
}

/**
 * @throws LevadaError SimpleApiUnsupported: the model has inputs or outputs that the simple API cannot express
 */
export function simpleModel(signature: Signature, classNames: readonly string[] | undefined): SimpleModel {
  const { inputs, outputs } = signature;
  const batch = inputs[0]?.shape[0] ?? -1;
  const count = featureCount(inputs);
  const rows = batch === -1 ? 1 : batch;
  return {
    rows,
    parse(body) {
      const features = readFeatures(body, count);
      const errors: Detail[] = [];
      const tensors =
        inputs.length === 1
          ? [row(inputs[0] as TensorInfo, features, rows, 0, errors)]
          : columns(inputs, features, rows, errors);
      if (errors.length > 0) throw new PredictInvalid(errors);
      return tensors;
    },
    answer: answerer(outputs, classNames),
  };
}

/** Features that one row has: the width of the single input, or the number of inputs where each is one column. */
function featureCount(inputs: readonly TensorInfo[]): number {
  const unsupported = (detail: string) => new LevadaError('SimpleApiUnsupported', { detail });
  const [first] = inputs;
  if (inputs.length === 1 && first) {
    if (first.shape.length !== 2) throw unsupported(`input ${first.name} has ${first.shape.length} dimensions, not 2`);
    return first.shape[1] ?? -1;
  }
  const odd = inputs.find(
    ({ shape }) => shape.length > 2 || (shape.length === 2 && shape[1] !== 1) || shape.length === 0,
  );
  if (odd) throw unsupported(`input ${odd.name} is not one column`);
  return inputs.length;
}

function readFeatures(body: unknown, count: number): unknown[] {
  if (body === undefined)
    throw new PredictInvalid([{ type: 'missing', loc: ['body'], msg: 'Field required', input: null }]);
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    const msg = 'Input should be a valid dictionary or object to extract fields from';
    throw new PredictInvalid([{ type: 'model_attributes_type', loc: ['body'], msg, input: echo(body) }]);
  }
  const { features } = body as { features?: unknown };
  const loc = ['body', 'features'];
  if (features === undefined)
    throw new PredictInvalid([{ type: 'missing', loc, msg: 'Field required', input: echo(body) }]);
  if (!Array.isArray(features)) {
    throw new PredictInvalid([{ type: 'list_type', loc, msg: 'Input should be a valid list', input: echo(features) }]);
  }
  const { length } = features;
  if (count === -1 ? length > 0 : length === count) return features;
  const short = count === -1 || length < count;
  const limit = count === -1 ? 1 : count;
  const msg = `List should have at ${short ? 'least' : 'most'} ${limit} items after validation, not ${length}`;
  const ctx = { field_type: 'List', [short ? 'min_length' : 'max_length']: limit, actual_length: length };
  throw new PredictInvalid([{ type: short ? 'too_short' : 'too_long', loc, msg, input: echo(features), ctx }]);
}

function row(info: TensorInfo, features: readonly unknown[], rows: number, from: number, errors: Detail[]): Tensor {
  const width =
    info.shape.length === 2 && info.shape[1] !== -1
      ? (info.shape[1] as number)
      : info.shape.length === 1
        ? 1
        : features.length;
  const shape = info.shape.length === 1 ? [rows] : [rows, width];
  const data = allocate(info.datatype, elements(shape));
  const kind = datatypeInfo(info.datatype).class;
  for (let i = 0; i < width; i++) {
    const value = features[from + i];
    const wrong = write(data as unknown[], i, value, info, kind);
    if (wrong) errors.push({ ...wrong, loc: ['body', 'features', from + i], input: echo(value) });
    // A fixed batch is filled with the same row; only the first answer is used.
    for (let r = 1; r < rows && !wrong; r++) (data as unknown[])[r * width + i] = data[i];
  }
  return { datatype: info.datatype, shape, data };
}

const columns = (
  inputs: readonly TensorInfo[],
  features: readonly unknown[],
  rows: number,
  errors: Detail[],
): Tensor[] => inputs.map((info, index) => row(info, features, rows, index, errors));

type Wrong = Pick<Detail, 'type' | 'msg'> & Partial<Pick<Detail, 'ctx'>>;

function write(
  data: unknown[],
  index: number,
  value: unknown,
  { datatype }: TensorInfo,
  kind: string,
): Wrong | undefined {
  if (kind === 'string') {
    if (typeof value !== 'string') return { type: 'string_type', msg: 'Input should be a valid string' };
    if (!isPlainString(value))
      return { type: 'string_unicode', msg: 'Input should be a valid string, without NUL and lone surrogates' };
    data[index] = value;
    return undefined;
  }
  if (kind === 'bool') {
    if (typeof value !== 'boolean') return { type: 'bool_type', msg: 'Input should be a valid boolean' };
    data[index] = value ? 1 : 0;
    return undefined;
  }
  if (typeof value !== 'number') {
    const [type, noun] = kind === 'float' ? ['float', 'number'] : ['int', 'integer'];
    return typeof value === 'string'
      ? { type: `${type}_parsing`, msg: `Input should be a valid ${noun}, strings are not parsed` }
      : { type: `${type}_type`, msg: `Input should be a valid ${noun}` };
  }
  if (kind === 'float') {
    data[index] = value;
    if (!Number.isFinite(data[index])) return { type: 'finite_number', msg: 'Input should be a finite number' };
    return undefined;
  }
  const { min, max } = datatypeInfo(datatype);
  if (!Number.isInteger(value))
    return { type: 'int_from_float', msg: 'Input should be a valid integer, got a number with a fractional part' };
  if (!Number.isSafeInteger(value) || value < Number(min) || value > Number(max)) {
    return { type: 'int_parsing_size', msg: `Input should be a valid integer of ${datatype}` };
  }
  data[index] = kind === 'bigint' ? BigInt(value) : value;
  return undefined;
}

/** What pydantic echoes as `input`, bounded. */
function echo(value: unknown): unknown {
  if (typeof value === 'string') return value.slice(0, 200);
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value))
    return value.length <= 32 && value.every((v) => typeof v !== 'object') ? value.map(echo) : [];
  const entries = Object.entries(value);
  return entries.length <= 16 && entries.every(([, v]) => typeof v !== 'object')
    ? Object.fromEntries(entries.map(([k, v]) => [k, echo(v)]))
    : {};
}

type Answer = (outputs: readonly Tensor[], row: number) => string;

/** A label output if there is one, else the class of the highest score, else the number itself. */
function answerer(outputs: readonly TensorInfo[], classNames: readonly string[] | undefined): Answer {
  const perRow = ({ shape }: TensorInfo) =>
    shape.length === 1 || (shape.length === 2 && (shape[1] === 1 || shape[1] === -1));
  const kindOf = ({ datatype }: TensorInfo) => datatypeInfo(datatype).class;
  const label = outputs.findIndex((o) => kindOf(o) !== 'float' && perRow(o));
  if (label >= 0)
    return (tensors, row) => {
      const tensor = tensors[label] as Tensor;
      if ((tensor.shape[1] ?? 1) !== 1)
        throw new LevadaError('SimpleApiUnsupported', { detail: `it gives ${tensor.shape[1]} labels a row` });
      return labelAnswer(valueAt(tensor, row, 0), classNames);
    };
  const scores = outputs.findIndex((o) => kindOf(o) === 'float' && o.shape.length === 2 && o.shape[1] !== 1);
  if (scores >= 0)
    return (tensors, row) => scoresAnswer(tensors[scores] as Tensor, outputs[scores] as TensorInfo, row, classNames);
  const value = outputs.findIndex((o) => kindOf(o) === 'float' && perRow(o));
  if (value >= 0)
    return (tensors, row) =>
      `{"prediction":${finite(tensors[value] as Tensor, outputs[value] as TensorInfo, row, 0)},"class_name":null}`;
  throw new LevadaError('SimpleApiUnsupported', {
    detail: 'no output is a label, a list of scores or a number for each row',
  });
}

function labelAnswer(value: number | bigint | string, classNames: readonly string[] | undefined): string {
  if (typeof value === 'string') return `{"prediction":${JSON.stringify(value)},"class_name":${JSON.stringify(value)}}`;
  const name = classNames ? (classNames[Number(value)] ?? null) : String(value);
  return `{"prediction":${value},"class_name":${JSON.stringify(name)}}`;
}

function scoresAnswer(
  tensor: Tensor,
  info: TensorInfo,
  row: number,
  classNames: readonly string[] | undefined,
): string {
  const width = tensor.shape[1] ?? 0;
  if (width === 1) return `{"prediction":${finite(tensor, info, row, 0)},"class_name":null}`;
  let best = 0;
  for (let i = 0; i < width; i++) if (finite(tensor, info, row, i) > finite(tensor, info, row, best)) best = i;
  return labelAnswer(best, classNames);
}

function valueAt(tensor: Tensor, row: number, column: number): number | bigint | string {
  const value = tensor.data[row * (tensor.shape[1] ?? 1) + column];
  if (value === undefined) throw new LevadaError('InferenceFailed', { detail: 'it gave no answer for this row' });
  return value;
}

function finite(tensor: Tensor, { name }: TensorInfo, row: number, column: number): number {
  const value = valueAt(tensor, row, column) as number;
  if (!Number.isFinite(value))
    throw new LevadaError('OutputNotFinite', { field: name, found: String(value), index: column });
  return value;
}
