import { type Definition, definitionsOf, type Focus, type Native } from './jsonata.ts';
import { limits } from './limits.ts';
import { isFunctionValue, longList, type Meter } from './meter.ts';
import { checkDatePicture, checkLength, checkNumberOptions, checkParsedPicture } from './pictures.ts';
import { rewritten } from './rewritten.ts';

/** What a built-in is charged for its arguments before it runs. */
type Price = (meter: Meter, args: readonly unknown[]) => void;

const free: Price = () => {};
/** Lists by their items, text by its characters. */
const items: Price = (meter, args) => {
  for (const arg of args) {
    if (typeof arg === 'string') meter.characters(arg.length);
    else if (Array.isArray(arg)) meter.items(arg);
    else if (typeof arg === 'object' && arg !== null && !isFunctionValue(arg)) {
      meter.spend(Object.keys(arg).length * 0.05);
    }
  }
};
/** Lists of maps: members count as well. */
const members: Price = (meter, args) => {
  for (const arg of args) for (const part of Array.isArray(arg) ? arg : [arg]) items(meter, [part]);
};
const everything: Price = (meter, args) => {
  for (const arg of args) meter.everything(arg);
};
/** JSON with line breaks: each line is indented by its depth, so deep values grow by more than their size. */
const asText: Price = (meter, args) => {
  for (let times = args[1] === true ? limits.depth / 8 : 1; times > 0; times--) meter.everything(args[0]);
};
const picture =
  (check: (picture: unknown) => void, options?: (options: unknown) => void): Price =>
  (meter, args) => {
    items(meter, args.slice(0, 1));
    check(args[1]);
    options?.(args[2]);
  };
const timePicture: Price = (_, args) => checkDatePicture(args[0]);

/** Every built-in that an expression may use. `$eval` is not here: its text could not be checked beforehand. */
const prices: Readonly<Record<string, Price>> = {
  // numbers
  abs: free,
  ceil: free,
  floor: free,
  formatBase: free,
  formatInteger: picture(checkLength),
  formatNumber: picture(checkLength, checkNumberOptions),
  number: items,
  parseInteger: picture(checkLength),
  power: free,
  random: free,
  round: free,
  sqrt: free,
  average: items,
  max: items,
  min: items,
  sum: items,
  // text
  base64decode: items,
  base64encode: items,
  contains: items,
  decodeUrl: items,
  decodeUrlComponent: items,
  encodeUrl: items,
  encodeUrlComponent: items,
  join: items,
  length: items,
  lowercase: items,
  match: items,
  pad: items,
  replace: items,
  split: items,
  string: asText,
  substring: items,
  substringAfter: items,
  substringBefore: items,
  trim: items,
  uppercase: items,
  // lists and maps
  append: items,
  clone: everything,
  count: free,
  distinct: everything,
  each: items,
  filter: free,
  keys: members,
  lookup: members,
  map: free,
  merge: members,
  reduce: free,
  reverse: items,
  shuffle: items,
  sift: items,
  single: free,
  sort: items,
  spread: members,
  zip: items,
  // any value
  assert: free,
  boolean: items,
  error: items,
  exists: free,
  not: items,
  type: free,
  // time
  fromMillis: picture(checkDatePicture),
  millis: free,
  now: timePicture,
  toMillis: picture(checkParsedPicture),
  // ours
  uuid: free,
};

export const builtinNames: ReadonlySet<string> = new Set(Object.keys(prices));

/** The meter of the evaluation that a frame belongs to. */
export type MeterOf = (frame: Focus['environment']) => Meter;

const originals = definitionsOf(builtinNames);

/**
 * The built-ins, each charged and checked. A set for each expression: JSONata writes positions into definitions.
 *
 * @param uuid gives a new UUID
 */
export function builtins(meterOf: MeterOf, uuid: () => string): Map<string, Definition> {
  const own = rewritten(meterOf, originals, uuid);
  return new Map(
    Object.entries(prices).flatMap(([name, price]) => {
      const original = originals.get(name);
      const implementation = own[name] ?? original?.implementation;
      if (implementation === undefined) return [];
      return [[name, definition(guarded(implementation, original, price, meterOf), original?.signature)] as const];
    }),
  );
}

function guarded(inner: Native, original: Definition | undefined, price: Price, meterOf: MeterOf): Native {
  const outer = function (this: Focus, ...args: unknown[]): unknown {
    const meter = meterOf(this.environment);
    meter.spend(1);
    for (const arg of args) {
      // With Infinity some of the formatting built-ins never end.
      if (typeof arg === 'number' && !Number.isFinite(arg)) throw { code: 'D1001', value: String(arg) };
    }
    price(meter, args);
    const result = (inner as (...args: unknown[]) => unknown).apply(this, args);
    if (result instanceof Promise) return result.then((value) => made(meter, value));
    return made(meter, result);
  };
  // JSONata reads the number and the names of parameters off the function.
  const named = original?.implementation ?? inner;
  Object.defineProperty(outer, 'length', { value: named.length });
  Object.defineProperty(outer, 'toString', { value: () => named.toString() });
  return outer;
}

/** @throws LimitExceeded */
function made(meter: Meter, value: unknown): unknown {
  if (typeof value === 'string') meter.made(value);
  if (Array.isArray(value)) {
    if (value.length > limits.items) throw longList();
    meter.items(value);
  }
  return value;
}

/** Members cannot be listed or changed: a definition is a value that an expression can get hold of. */
function definition(implementation: Native, signature: unknown): Definition {
  return Object.defineProperties({} as Definition, {
    _jsonata_function: { value: true },
    implementation: { value: implementation },
    ...(signature !== undefined && { signature: { value: signature } }),
  });
}
