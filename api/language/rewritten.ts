import type { Definition, Focus, Native } from './jsonata.ts';
import { limits } from './limits.ts';
import { isFunctionValue, LimitExceeded, longList, longText, type Meter } from './meter.ts';

/** A function of the expression, as a built-in gets it. */
interface Callable {
  apply(self: unknown, args: unknown[]): unknown;
}

/**
 * Built-ins that are written anew: JSONata's own take quadratic time or memory ($sort keeps a copy of the rest of the
 * list for each item), fail on long lists ($max), or make their result before its size can be known.
 */
export function rewritten(
  meterOf: (frame: Focus['environment']) => Meter,
  originals: ReadonlyMap<string, Definition>,
  uuid: () => string,
): Record<string, Native> {
  const call = (name: string, focus: Focus, args: unknown[]) => {
    const original = originals.get(name);
    if (original === undefined) throw new Error(`JSONata has no $${name}`);
    return (original.implementation as Callable).apply(focus, args);
  };
  const natives: Record<string, (this: Focus, ...args: never[]) => unknown> = {
    max: (list?: number[]) => list?.reduce<number | undefined>((a, b) => (a === undefined || b > a ? b : a), undefined),
    min: (list?: number[]) => list?.reduce<number | undefined>((a, b) => (a === undefined || b < a ? b : a), undefined),
    length: (text?: string) => (text === undefined ? undefined : characters(text)),
    substring,
    pad,
    join,
    split(text?: string, separator?: unknown, limit?: number) {
      return typeof separator === 'string' && text !== undefined && !(Number(limit) < 0)
        ? splitText(text, separator, limit)
        : call('split', this, [text, separator, limit]);
    },
    replace(text?: string, pattern?: unknown, replacement?: unknown, limit?: number) {
      const meter = meterOf(this.environment);
      if (text === undefined) return undefined;
      if (typeof pattern !== 'string' || pattern === '' || Number(limit) < 0) {
        const price = typeof replacement === 'string' ? replacement.length * 0.005 : 0;
        return call('replace', this, [text, eachMatchCosts(pattern, meter, 1 + price), replacement, limit]);
      }
      if (typeof replacement !== 'string') throw { code: 'D3012', value: 'a function' };
      return replaceText(text, pattern, replacement, limit ?? Number.POSITIVE_INFINITY, meter);
    },
    sort(list?: unknown[], comparator?: Callable) {
      return sort(this, list, comparator, meterOf(this.environment));
    },
    append(first?: unknown, second?: unknown) {
      if (first === undefined || second === undefined) return first === undefined ? second : first;
      return [first].flat().concat(second);
    },
    spread(value: unknown) {
      if (typeof value !== 'object' || value === null || isFunctionValue(value)) return value;
      const parts = this.createSequence();
      spreadInto(parts, value);
      return parts;
    },
    distinct(list?: unknown) {
      return distinct(this, list);
    },
    // The original looks at the clock of the latest evaluation, which may be another one than this.
    now(picture?: string, timezone?: string) {
      return call('fromMillis', this, [this.environment.base.timestamp.getTime(), picture, timezone]);
    },
    millis() {
      return this.environment.base.timestamp.getTime();
    },
    uuid: () => uuid(),
  };
  return natives as Record<string, Native>;
}

/** As people count them: one for two surrogates. */
function characters(text: string): number {
  let count = text.length;
  for (let index = 0; index < text.length - 1; index++) {
    if (isPair(text, index)) {
      count--;
      index++;
    }
  }
  return count;
}

function isPair(text: string, index: number): boolean {
  return (text.charCodeAt(index) & 0xfc00) === 0xd800 && (text.charCodeAt(index + 1) & 0xfc00) === 0xdc00;
}

/** The index in UTF-16 units of the character `count`. */
function unitIndex(text: string, count: number): number {
  let unit = 0;
  for (let passed = 0; passed < count && unit < text.length; passed++) unit += isPair(text, unit) ? 2 : 1;
  return unit;
}

function substring(text: string | undefined, start = 0, length?: number): string | undefined {
  if (text === undefined) return undefined;
  const total = characters(text);
  // As Array.prototype.slice counts: a part of a number is dropped, and a start below zero counts from the end.
  const at = Math.trunc(start);
  const first = at < 0 ? Math.max(0, total + at) : Math.min(at, total);
  if (length === undefined) return text.slice(unitIndex(text, first));
  if (length <= 0) return '';
  const from = total + start < 0 ? 0 : start;
  const last = Math.trunc(from >= 0 ? from + length : total + from + length);
  return text.slice(unitIndex(text, first), unitIndex(text, Math.max(first, last)));
}

function pad(text: string | undefined, width: number, fill = ' '): string | undefined {
  if (text === undefined) return undefined;
  const missing = Math.abs(Math.trunc(width)) - characters(text);
  if (missing <= 0) return text;
  const unit = fill === '' ? ' ' : fill;
  if (missing * 2 > limits.characters) throw longText();
  const times = Math.ceil(missing / characters(unit));
  if (times * unit.length > limits.characters) throw longText();
  const repeated = unit.repeat(times);
  const padding = repeated.slice(0, unitIndex(repeated, missing));
  return width > 0 ? text + padding : padding + text;
}

function join(list: string[] | undefined, separator = ''): string | undefined {
  if (list === undefined) return undefined;
  let length = separator.length * Math.max(0, list.length - 1);
  for (const text of list) length += text.length;
  if (length > limits.characters) throw longText();
  return list.join(separator);
}

function splitText(text: string, separator: string, limit?: number): string[] {
  const parts = text.split(separator, Math.min(limit ?? limits.items + 1, limits.items + 1));
  if (parts.length > limits.items) throw longList();
  return parts;
}

function replaceText(text: string, pattern: string, replacement: string, limit: number, meter: Meter): string {
  const places: number[] = [];
  for (
    let at = text.indexOf(pattern);
    at >= 0 && places.length < limit;
    at = text.indexOf(pattern, at + pattern.length)
  ) {
    meter.spend(0.2);
    places.push(at);
  }
  if (text.length + places.length * (replacement.length - pattern.length) > limits.characters) throw longText();
  let done = 0;
  const parts: string[] = [];
  for (const at of places) {
    parts.push(text.slice(done, at), replacement);
    done = at + pattern.length;
  }
  return parts.join('') + text.slice(done);
}

interface Match {
  readonly next?: () => Match | undefined;
}

/** `pattern`, where finding a match costs `price`: what is done with each match is up to the built-in. */
function eachMatchCosts(pattern: unknown, meter: Meter, price: number): unknown {
  if (!isFunctionValue(pattern)) return pattern;
  const charged = (match: Match | undefined): Match | undefined => {
    meter.spend(price);
    const next = match?.next;
    return typeof next === 'function' ? { ...match, next: () => charged(next()) } : match;
  };
  return async (text: string) => charged((await (pattern as Callable).apply(undefined, [text])) as Match | undefined);
}

async function sort(focus: Focus, list: unknown[] | undefined, comparator: Callable | undefined, meter: Meter) {
  if (list === undefined || list.length <= 1) return list;
  if (list.length > limits.items) throw longList();
  if (comparator === undefined) {
    const type = typeof list[0];
    if (!['string', 'number'].includes(type) || list.some((item) => typeof item !== type)) {
      throw { code: 'D3070', index: 1 };
    }
    meter.spend(list.length * Math.log2(list.length) * 0.1);
    return [...(list as number[])].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
  }
  let runs = list.map((item) => [item]);
  while (runs.length > 1) {
    const merged: unknown[][] = [];
    for (let index = 0; index < runs.length; index += 2) {
      merged.push(await merge(focus, comparator, runs[index] ?? [], runs[index + 1] ?? []));
    }
    runs = merged;
  }
  return runs[0];
}

/** @param comparator gives true where its first argument comes after its second */
async function merge(focus: Focus, comparator: Callable, left: unknown[], right: unknown[]): Promise<unknown[]> {
  const merged: unknown[] = [];
  let [l, r] = [0, 0];
  while (l < left.length && r < right.length) {
    const swap = await comparator.apply(focus, [left[l], right[r]]);
    merged.push(swap ? right[r++] : left[l++]);
  }
  while (l < left.length) merged.push(left[l++]);
  while (r < right.length) merged.push(right[r++]);
  return merged;
}

function spreadInto(parts: unknown[], value: unknown): void {
  if (Array.isArray(value)) for (const item of value) spreadInto(parts, item);
  else if (typeof value !== 'object' || value === null || isFunctionValue(value)) parts.push(value);
  else for (const entry of Object.entries(value)) parts.push(Object.fromEntries([entry]));
}

/** By what the values are, in any order of members. Functions are what they are. */
function distinct(focus: Focus, list: unknown): unknown {
  if (!Array.isArray(list) || list.length <= 1) return list;
  const seen = new Set<unknown>();
  const kept = (list as { sequence?: boolean }).sequence === true ? focus.createSequence() : [];
  for (const item of list) {
    const key = isFunctionValue(item) || typeof item !== 'object' ? item : canonical(item);
    const entry = typeof key === 'string' ? (typeof item === 'string' ? `s${key}` : `v${key}`) : key;
    if (seen.has(entry)) continue;
    seen.add(entry);
    kept.push(item);
  }
  return kept;
}

/** JSON with sorted members: the same text for values that are equal. */
export function canonical(value: unknown, depth = 0): string {
  if (isFunctionValue(value)) return 'function';
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'undefined';
  if (depth > limits.depth) throw new LimitExceeded(`a value is nested deeper than ${limits.depth}`);
  if (Array.isArray(value)) return `[${value.map((item) => canonical(item, depth + 1)).join()}]`;
  const keys = Object.keys(value).sort();
  const inner = value as Record<string, unknown>;
  return `{${keys.map((key) => `${JSON.stringify(key)}:${canonical(inner[key], depth + 1)}`).join()}}`;
}
