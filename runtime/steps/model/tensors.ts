/** One row of data as tensors of the Open Inference Protocol, and back. Pure. */
import { LevadaError } from '../../../api/errors.ts';
import { show } from '../../../api/rules.ts';
import {
  allocate,
  type Datatype,
  datatypeInfo,
  isPlainString,
  showShape,
  type TensorInfo,
} from '../../inference/tensors.ts';

export interface ModelSignature {
  /** Name of the model, for messages. */
  readonly model: string;
  readonly version: string;
  readonly inputs: readonly TensorInfo[];
}

/**
 * Body of POST /v2/models/NAME/infer for one row.
 *
 * An input whose first dimension is free or 1 has a batch: its value is one row, without it. A value of an input without
 * a batch has the whole shape. A number stands for a list of one.
 *
 * @param values by name of input
 * @throws LevadaError ModelInputMismatch, whose field names the element
 */
export function inferBody(signature: ModelSignature, values: Readonly<Record<string, unknown>>): string {
  const { model, inputs } = signature;
  const names = inputs.map(({ name }) => name);
  const unknown = Object.keys(values).find((name) => !names.includes(name));
  if (unknown !== undefined) throw mismatch(model, `inputs.${unknown}`, 'this input', names.join(', '));
  const tensors = inputs.map((info) => {
    if (!Object.hasOwn(values, info.name)) throw mismatch(model, `inputs.${info.name}`, 'nothing', describe(info));
    return tensorJson(info, values[info.name], model);
  });
  return `{"inputs":[${tensors.join(',')}]}`;
}

export const hasBatch = ({ shape }: Pick<TensorInfo, 'shape'>): boolean => shape[0] === -1 || shape[0] === 1;

/** `FP32 [4]`: what one value of an input is. */
function describe(info: TensorInfo): string {
  const row = hasBatch(info) ? info.shape.slice(1) : info.shape;
  return row.length === 0 ? `one ${info.datatype}` : `${info.datatype} ${showShape(row)}`;
}

function tensorJson(info: TensorInfo, value: unknown, model: string): string {
  const batch = hasBatch(info);
  const row = batch ? info.shape.slice(1) : info.shape;
  const elements: string[] = [];
  const field = `inputs.${info.name}`;
  // A column is what tables are made of: `[-1, 1]` takes the number as well as the list of one.
  const nested = row.length === 1 && (row[0] === 1 || row[0] === -1) && !Array.isArray(value) ? [value] : value;
  const shape = measure(nested, row, { field, model, info });
  flatten(nested, row.length, field, (element, path) => {
    elements.push(elementJson(element, info.datatype, path, model));
  });
  const dims = batch ? [1, ...shape] : shape;
  const name = JSON.stringify(info.name);
  return `{"name":${name},"datatype":"${info.datatype}","shape":[${dims.join(',')}],"data":[${elements.join(',')}]}`;
}

interface Place {
  readonly field: string;
  readonly model: string;
  readonly info: TensorInfo;
}

/** The shape of nested lists, checked against `expected`, where -1 is any length that all lists of the level share. */
function measure(value: unknown, expected: readonly number[], place: Place): number[] {
  const shape: number[] = [];
  const walk = (list: unknown, level: number, field: string): void => {
    const dim = expected[level];
    if (dim === undefined) return;
    if (!Array.isArray(list)) throw mismatch(place.model, field, show(list), listOf(dim, place.info));
    shape[level] ??= list.length;
    const wanted = dim === -1 ? shape[level] : dim;
    if (list.length !== wanted || list.length === 0) {
      throw mismatch(place.model, field, show(list), listOf(list.length === 0 ? dim : wanted, place.info));
    }
    for (let i = 0; i < list.length; i++) walk(list[i], level + 1, `${field}[${i}]`);
  };
  walk(value, 0, place.field);
  return shape;
}

const listOf = (dim: number, info: TensorInfo): string =>
  `a list of ${dim === -1 ? 'at least one' : dim} (${describe(info)})`;

function flatten(value: unknown, levels: number, field: string, each: (element: unknown, field: string) => void): void {
  if (levels === 0) {
    each(value, field);
    return;
  }
  const list = value as readonly unknown[];
  for (let i = 0; i < list.length; i++) flatten(list[i], levels - 1, `${field}[${i}]`, each);
}

/** Text of one element. Integers of 64 bits may be given as text, for JSON's numbers are exact to 2^53 only. */
function elementJson(value: unknown, datatype: Datatype, field: string, model: string): string {
  const { class: kind, min, max } = datatypeInfo(datatype);
  const refuse = (allowed: string) => mismatch(model, field, show(value), `${allowed} (${datatype})`);
  switch (kind) {
    case 'float': {
      if (typeof value !== 'number' || !Number.isFinite(rounded(value, datatype))) {
        throw refuse(`a finite number, at most ${max} either way`);
      }
      return Object.is(value, -0) ? '-0.0' : String(value);
    }
    case 'int':
      if (typeof value !== 'number' || !Number.isInteger(value) || value < Number(min) || value > Number(max)) {
        throw refuse(`a whole number, ${min} to ${max}`);
      }
      return String(value + 0); // -0 is 0
    case 'bigint': {
      const isExact = Number.isSafeInteger(value) || (typeof value === 'string' && /^-?\d{1,20}$/.test(value));
      const exact = isExact ? BigInt(value as number | string) : undefined;
      if (exact === undefined || exact < BigInt(min) || exact > BigInt(max)) {
        throw refuse(`a whole number, ${min} to ${max}; beyond 2^53 as text`);
      }
      return String(exact);
    }
    case 'bool':
      if (typeof value !== 'boolean') throw refuse('true or false');
      return String(value);
    case 'string':
      if (typeof value !== 'string' || !isPlainString(value)) throw refuse('text without NUL and lone surrogates');
      return JSON.stringify(value);
  }
}

/** What is finite as a double need not be so in a smaller type. */
function rounded(value: number, datatype: Datatype): number {
  const data = allocate(datatype, 1);
  data[0] = value;
  return data[0] as number;
}

const mismatch = (model: string, field: string, found: string, allowed: string): LevadaError =>
  new LevadaError('ModelInputMismatch', { field, found, model, allowed });

/** A tensor of an answer. */
export interface OutputTensor {
  readonly name: string;
  readonly shape: readonly number[];
  /** Flat. */
  readonly data: readonly unknown[];
}

/**
 * Its value as nested lists, without the batch where that is one row. Integers that JSON's numbers cannot hold are text.
 */
export function outputValue({ shape, data }: OutputTensor, oneRow: boolean): unknown {
  const inner = oneRow && shape[0] === 1 ? shape.slice(1) : shape;
  let offset = 0;
  const build = (level: number): unknown => {
    const dim = inner[level];
    if (dim === undefined) {
      const element = data[offset++];
      return typeof element === 'bigint' ? String(element) : element;
    }
    return Array.from({ length: dim }, () => build(level + 1));
  };
  return build(0);
}
