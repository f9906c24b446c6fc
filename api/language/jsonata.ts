import jsonata from 'jsonata';

/** What JSONata 2.2 shows of itself while it evaluates; its own types leave it out. */

/** A part of a parsed expression. */
export interface Node {
  readonly type?: string;
  value?: unknown;
  readonly position?: number;
  readonly lhs?: unknown;
  readonly rhs?: unknown;
  readonly [member: string]: unknown;
}

/** Variables of one scope; what is not in it is looked for in the scope around it. */
export interface Frame {
  lookup(name: string | symbol): unknown;
  /** The outermost scope of this evaluation: a new one for each. */
  readonly base: BaseFrame;
}

export interface BaseFrame extends Frame {
  /** Parts that are under way. */
  readonly depth: number;
  readonly timestamp: { getTime(): number };
  /** The list that results are gathered in. */
  createSequence(...items: unknown[]): unknown[];
  RegexEngine: new (literal: RegExp) => object;
}

/** `this` of a built-in. */
export interface Focus {
  readonly environment: Frame;
  createSequence(...items: unknown[]): unknown[];
}

export type Native = (this: Focus, ...args: never[]) => unknown;

/** A built-in, as JSONata keeps it. */
export interface Definition {
  readonly _jsonata_function: true;
  readonly implementation: Native;
  readonly signature?: unknown;
}

export interface Parsed {
  ast(): Node;
  evaluate(data: unknown, variables: object): Promise<unknown>;
  assign(name: string, value: unknown): void;
}

/** Called before and after each part is evaluated, and for each new scope. What the first returns is awaited. */
export interface Hooks {
  enter(node: Node, input: unknown, frame: Frame): Promise<void> | undefined;
  leave(node: Node, input: unknown, frame: Frame, result: unknown): void;
  scope(outer: object, inner: object): void;
}

/** @throws what JSONata throws: an object with `code`, `message`, `position`, `token`; or an Error */
export function parse(text: string, options: { sequence: number }): Parsed {
  return jsonata(text, options) as unknown as Parsed;
}

const entry = Symbol.for('jsonata.__evaluate_entry');
const exit = Symbol.for('jsonata.__evaluate_exit');
const frame = Symbol.for('jsonata.__createFrame_push');

export function hook(parsed: Parsed, hooks: Partial<Hooks>): void {
  // JSONata keeps its hooks where variables are, under names that no expression can write.
  const assign = parsed.assign as unknown as (name: symbol, value: unknown) => void;
  if (hooks.enter) assign(entry, hooks.enter);
  if (hooks.leave) assign(exit, hooks.leave);
  if (hooks.scope) assign(frame, hooks.scope);
}

/** JSONata's own definitions of `names`. */
export function definitionsOf(names: Iterable<string>): Map<string, Definition> {
  const found = new Map<string, Definition>();
  const probe = parse('0', { sequence: 1 });
  hook(probe, {
    enter(_node, _input, scope) {
      for (const name of names) {
        const definition = scope.lookup(name) as Definition | undefined;
        if (definition?._jsonata_function === true) found.set(name, definition);
      }
      return undefined;
    },
  });
  // Up to its first pause an async function runs at once, and the hook is before that.
  void probe.evaluate(undefined, {});
  return found;
}
