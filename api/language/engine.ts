import { builtins } from './builtins.ts';
import { type BaseFrame, type Frame, type Hooks, hook, type Node, type Parsed } from './jsonata.ts';
import { limits } from './limits.ts';
import { isFunctionValue, LimitExceeded, longList, Meter } from './meter.ts';
import type { SafeRegex, Search } from './regex.ts';
import { marks, type Scan } from './scan.ts';

/** Something that an expression may not do with its values. */
export class Forbidden extends Error {}

/**
 * Puts limits around a parsed expression. JSONata evaluates each part in one function; before and after it, hooks
 * charge a meter for the part and for what JSONata is about to do natively with large values. Built-ins, the lists that
 * results are gathered in, and regular expressions charge the same meter. There is one for each evaluation: several of
 * one expression may be under way.
 */
export function limit(parsed: Parsed, scan: Scan, uuid: () => string): void {
  const meters = new WeakMap<BaseFrame, Meter>();
  const meterOf = ({ base }: Frame): Meter => {
    let meter = meters.get(base);
    if (meter === undefined) {
      meter = new Meter();
      meters.set(base, meter);
      base.createSequence = sequences(meter);
      base.RegexEngine = regexEngine(scan.regexes, meter);
    }
    return meter;
  };
  for (const [name, definition] of builtins(meterOf, uuid)) parsed.assign(name, definition);
  // No way leads to it, and were there one, nothing would be there.
  parsed.assign('eval', undefined);
  hook(parsed, hooks(scan.marks, meterOf));
}

const scopeDepth = Symbol('depth of a scope');
interface Scope {
  [scopeDepth]?: number;
}

function hooks(marked: ReadonlyMap<object, number>, meterOf: (frame: Frame) => Meter): Hooks {
  return {
    scope(outer: Scope, inner: Scope) {
      const depth = (outer[scopeDepth] ?? 0) + 1;
      if (depth > limits.scopes)
        throw new LimitExceeded(`more than ${limits.scopes} functions and ( ) inside each other`);
      inner[scopeDepth] = depth;
    },
    enter(node, input, frame) {
      const meter = meterOf(frame);
      if (frame.base.depth > limits.active) {
        throw new LimitExceeded(
          `more than ${limits.active.toLocaleString('en-US')} parts under way: a recursion too deep, or a group of too many keys`,
        );
      }
      before(meter, node, input, marked.get(node) ?? 0);
      // A turn for other work: waiting for promises alone gives none to sockets and timers.
      return meter.pauseIsDue() ? new Promise((resolve) => setImmediate(resolve)) : undefined;
    },
    leave(node, input, frame, result) {
      const mark = marked.get(node);
      if (mark !== undefined) after(meterOf(frame), node, input, mark, result);
    },
  };
}

/** Steps for an item of a list that is copied again and again; half of it counts, for the list grows meanwhile. */
const perCopied = 0.0075;

function before(meter: Meter, node: Node, input: unknown, mark: number): void {
  meter.spend(mark & marks.sortTerm ? 6 : 1);
  if (node.type === 'name') meter.items(input);
  else if (node.type === 'descendant') meter.everything(input);
  else if (node.type === 'wildcard' && typeof input === 'object' && input !== null) {
    const lists = Object.values(input).filter((member) => Array.isArray(member));
    meter.spend(Object.keys(input).length * 0.1);
    for (const list of lists) meter.items(list);
    // Each list is added by copying what is there.
    meter.spend(lists.length * lists.reduce((sum, list) => sum + list.length, 0) * perCopied);
  }
  if (mark & marks.tupleKey || (mark & marks.whole && Array.isArray(input))) meter.spend(20);
  if (mark & marks.change && isFunctionValue(input)) throw new Forbidden('a function cannot be changed by | … |');
}

function after(meter: Meter, node: Node, input: unknown, mark: number, result: unknown): void {
  if (mark & marks.whole || (mark & marks.joined && typeof result !== 'string')) meter.everything(result);
  if (mark & marks.tested) meter.items(result);
  if (mark & marks.text && typeof result === 'string') {
    // The two parts are linked, not copied, until the text is read.
    if (result.length > limits.characters) meter.made(result);
    meter.spend(result.length * 0.001);
  }
  if (mark & (marks.range | marks.list) && Array.isArray(result)) {
    if (result.length > limits.items) throw longList();
    meter.spend(result.length * 0.05);
    if (mark & marks.list) meter.spend(result.length * (node.expressions as unknown[]).length * perCopied);
  }
  if (mark & marks.map && Array.isArray(input) && input.length === 1 && input[0] === undefined) {
    // JSONata puts `undefined` into an empty list to make one map; the list may be the caller's.
    input.length = 0;
  }
  // A promise would take a member `then` for its own and never end.
  if (mark & marks.member && isFunctionValue(result)) throw new Forbidden('a function cannot be a member of a map');
}

interface Sequence extends Array<unknown> {
  sequence?: boolean;
}

/** Lists that charge for what is added. */
function sequences(meter: Meter): BaseFrame['createSequence'] {
  const push = function (this: unknown[], ...items: unknown[]): number {
    if (this.length + items.length > limits.items) throw longList();
    meter.spend(items.length * 0.1);
    return Array.prototype.push.apply(this, items);
  };
  // JSONata makes a list of one to add the others of a group to it. It copies the list for each; this one grows.
  const grow = function (this: unknown[], ...lists: unknown[][]): unknown[] {
    for (const list of lists) for (const item of list) this.push(item);
    return this;
  };
  return (...items) => {
    const sequence: Sequence = [];
    sequence.push = push;
    sequence.sequence = true;
    if (items.length === 1) {
      sequence.push(items[0]);
      sequence.concat = grow as Sequence['concat'];
    }
    return sequence;
  };
}

/** What JSONata uses of RegExp. */
function regexEngine(regexes: ReadonlyMap<RegExp, SafeRegex>, meter: Meter): BaseFrame['RegexEngine'] {
  return class {
    lastIndex = 0;
    readonly #regex: SafeRegex;
    #text: string | undefined;
    #search: Search | undefined;

    constructor(literal: RegExp) {
      const regex = regexes.get(literal);
      if (regex === undefined) throw new Forbidden('a regular expression that is not a literal');
      this.#regex = regex;
    }

    exec(text: string): ({ index: number } & Array<string | undefined>) | null {
      if (typeof text !== 'string') throw new Forbidden('a regular expression takes text');
      if (text !== this.#text || this.#search === undefined) {
        this.#text = text;
        this.#search = this.#regex.search(text, meter);
      }
      const match = this.#search.next(this.lastIndex);
      this.lastIndex = match?.end ?? 0;
      if (match === undefined) return null;
      return Object.assign([text.slice(match.start, match.end), ...match.groups], { index: match.start });
    }
  };
}
