import { formatPath } from '../path.ts';
import { limits } from './limits.ts';
import { isFunctionValue, LimitExceeded, type Meter } from './meter.ts';

/** A value that JSON has no form for. */
export class NotJson extends Error {
  readonly #found: string;
  /** From the outside in; filled in on the way out. */
  readonly path: Array<string | number> = [];

  constructor(found: string) {
    super(found);
    this.#found = found;
  }

  get found(): string {
    return this.path.length === 0 ? this.#found : `${this.#found} at ${formatPath(this.path)}`;
  }
}

/** Steps for each value that is copied: a copy takes memory, a look does not. */
const perCopy = 0.4;

/**
 * A copy of `value` that is JSON and nothing else: no marks of JSONata on lists, no maps without a prototype, no `-0`.
 * What is undefined is left out; `undefined` itself stays.
 *
 * @throws NotJson a function, NaN, Infinity
 * @throws LimitExceeded
 */
export function copyJson(value: unknown, meter: Meter, depth = 0): unknown {
  meter.spend(perCopy);
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) throw new NotJson(`the number ${value}`);
    return value === 0 ? 0 : value;
  }
  if (typeof value === 'string') {
    meter.characters(value.length);
    return value;
  }
  if (isFunctionValue(value)) throw new NotJson('a function');
  if (typeof value !== 'object' || value === null) return value;
  if (depth >= limits.depth) throw new LimitExceeded(`a value is nested deeper than ${limits.depth}`);
  return Array.isArray(value) ? copyList(value, meter, depth) : copyMap(value, meter, depth);
}

function copyList(list: readonly unknown[], meter: Meter, depth: number): unknown[] {
  const copy: unknown[] = [];
  for (let index = 0; index < list.length; index++) {
    const item = list[index];
    if (item !== undefined) copy.push(copyPart(item, index, meter, depth));
  }
  return copy;
}

function copyMap(map: object, meter: Meter, depth: number): object {
  const copy: Record<string, unknown> = {};
  for (const key of Object.keys(map)) {
    const part = (map as Record<string, unknown>)[key];
    if (part === undefined) continue;
    const value = copyPart(part, key, meter, depth);
    // An assignment to `__proto__` would change the map's prototype.
    if (key === '__proto__')
      Object.defineProperty(copy, key, { value, enumerable: true, writable: true, configurable: true });
    else copy[key] = value;
  }
  return copy;
}

function copyPart(part: unknown, key: string | number, meter: Meter, depth: number): unknown {
  try {
    return copyJson(part, meter, depth + 1);
  } catch (error) {
    if (error instanceof NotJson) error.path.unshift(key);
    throw error;
  }
}
