/**
 * Tensors as the runtime passes them around, and the datatypes of the Open Inference Protocol.
 */

export type NumericData =
  | Float16Array
  | Float32Array
  | Float64Array
  | Int8Array
  | Int16Array
  | Int32Array
  | Uint8Array
  | Uint16Array
  | Uint32Array;
export type BigData = BigInt64Array | BigUint64Array;
/** Row-major. BOOL is a Uint8Array of 0 and 1, BYTES a list of strings. */
export type TensorData = NumericData | BigData | string[];

export interface Tensor {
  readonly datatype: Datatype;
  readonly shape: readonly number[];
  readonly data: TensorData;
}

/** A model's input or output. A free dimension is -1. */
export interface TensorInfo {
  readonly name: string;
  readonly datatype: Datatype;
  readonly shape: readonly number[];
}

type DataConstructor = new (length: number) => TensorData;

interface DatatypeInfo {
  /** ONNX Runtime's name for it. */
  readonly ort: string;
  readonly create: DataConstructor;
  readonly class: 'float' | 'int' | 'bigint' | 'bool' | 'string';
  readonly min: number | bigint;
  readonly max: number | bigint;
}

const float = (ort: string, create: DataConstructor, max: number): DatatypeInfo => ({
  ort,
  create,
  class: 'float',
  min: -max,
  max,
});
const int = (ort: string, create: DataConstructor, min: number, max: number): DatatypeInfo => ({
  ort,
  create,
  class: 'int',
  min,
  max,
});

export const datatypes = {
  BOOL: { ort: 'bool', create: Uint8Array, class: 'bool', min: 0, max: 1 },
  UINT8: int('uint8', Uint8Array, 0, 255),
  UINT16: int('uint16', Uint16Array, 0, 65_535),
  UINT32: int('uint32', Uint32Array, 0, 4_294_967_295),
  UINT64: { ort: 'uint64', create: BigUint64Array, class: 'bigint', min: 0n, max: 2n ** 64n - 1n },
  INT8: int('int8', Int8Array, -128, 127),
  INT16: int('int16', Int16Array, -32_768, 32_767),
  INT32: int('int32', Int32Array, -2_147_483_648, 2_147_483_647),
  INT64: { ort: 'int64', create: BigInt64Array, class: 'bigint', min: -(2n ** 63n), max: 2n ** 63n - 1n },
  FP16: float('float16', Float16Array, 65_504),
  FP32: float('float32', Float32Array, 3.4028234663852886e38),
  FP64: float('float64', Float64Array, Number.MAX_VALUE),
  BYTES: { ort: 'string', create: Array as unknown as DataConstructor, class: 'string', min: 0, max: 0 },
} satisfies Record<string, DatatypeInfo>;

/** Whether ONNX Runtime gets a string as it is: it ends strings at NUL, and has UTF-8, not UTF-16. */
export const isPlainString = (value: string): boolean => !value.includes('\0') && value.isWellFormed();

export type Datatype = keyof typeof datatypes;
export const datatypeInfo = (datatype: Datatype): DatatypeInfo => datatypes[datatype];

const byOrtName = new Map<string, Datatype>(
  Object.entries(datatypes).map(([name, info]) => [info.ort, name as Datatype]),
);
export const datatypeOfOrt = (ort: string): Datatype | undefined => byOrtName.get(ort);

export const allocate = (datatype: Datatype, length: number): TensorData => new (datatypeInfo(datatype).create)(length);

/** Number of elements of a shape without free dimensions. */
export const elements = (shape: readonly number[]): number => shape.reduce((product, dim) => product * dim, 1);

/** Elements in one row, i.e. of all dimensions but the first. */
export const rowElements = (shape: readonly number[]): number => elements(shape.slice(1));

/** The rows `[from, to)` of a tensor, without a copy where its data allows. */
export function rows(tensor: Tensor, from: number, to: number): Tensor {
  const width = rowElements(tensor.shape);
  const { data } = tensor;
  const part = Array.isArray(data) ? data.slice(from * width, to * width) : data.subarray(from * width, to * width);
  return { datatype: tensor.datatype, shape: [to - from, ...tensor.shape.slice(1)], data: part };
}

/** Tensors of one datatype and one row shape, one after the other. */
export function concatRows(tensors: readonly Tensor[]): Tensor {
  const [first] = tensors;
  if (!first) throw new RangeError('concatRows needs a tensor');
  if (tensors.length === 1) return first;
  let count = 0;
  for (const tensor of tensors) count += tensor.shape[0] ?? 0;
  const shape = [count, ...first.shape.slice(1)];
  const data = allocate(first.datatype, elements(shape));
  let offset = 0;
  for (const tensor of tensors) {
    if (Array.isArray(data)) for (const value of tensor.data as string[]) data[offset++] = value;
    else {
      (data as Float32Array).set(tensor.data as Float32Array, offset);
      offset += tensor.data.length;
    }
  }
  return { datatype: first.datatype, shape, data };
}

/** A shape as people write it: `[-1,4]`. */
export const showShape = (shape: readonly number[]): string => `[${shape.join(',')}]`;
