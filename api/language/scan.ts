import { builtinNames } from './builtins.ts';
import type { Node } from './jsonata.ts';
import { limits } from './limits.ts';
import { compileRegex, type SafeRegex } from './regex.ts';

/** What JSONata does with the result of a part, or with its input, without evaluating a further part: flags. */
export const marks = {
  /** Compared, searched, written as text, or shown in an error message. */
  whole: 1,
  /** Written as text unless it is text. */
  joined: 2,
  /** Tested for truth: lists by their items. */
  tested: 4,
  /** The text of `&`. */
  text: 8,
  /** The list of `..`. */
  range: 16,
  /** The list of `[…]`: each part is added by copying what is there. */
  list: 32,
  /** `{…}`. */
  map: 64,
  /** The value of a member. */
  member: 128,
  /** Key of a group of tuples: each is added by copying what is there. */
  tupleKey: 256,
  /** Term of `^(…)`: JSONata keeps a copy of the rest of the list for each item that it merges. */
  sortTerm: 512,
  /** What `| … | … |` changes its input by. */
  change: 1024,
} as const;

export interface Scan {
  readonly marks: ReadonlyMap<object, number>;
  readonly regexes: ReadonlyMap<RegExp, SafeRegex>;
  /** JSONata may write into its input: it must be a copy. */
  readonly mutates: boolean;
}

/** What is wrong with an expression that parses. */
export class NotAllowed extends Error {}

const at = (node: Node) => (node.position === undefined ? '' : `position ${node.position}: `);

/**
 * Looks through a parsed expression: nothing of it may depend on names that nobody knows, or do what cannot be bounded.
 *
 * @param known names of variables, without `$`
 * @throws NotAllowed
 */
export function scan(root: Node, known: readonly string[]): Scan {
  const walker = new Walker();
  walker.walk(root);
  walker.restoreRegexes();
  walker.checkNames(known);
  return { marks: walker.marks, regexes: walker.regexes, mutates: walker.mutates };
}

const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);
const binds = new Set(['lhs']);
const parameters = new Set(['arguments']);
const none = new Set<string>();

class Walker {
  readonly marks = new Map<object, number>();
  readonly regexes = new Map<RegExp, SafeRegex>();
  mutates = false;
  readonly #bound = new Set<string>();
  readonly #used: Node[] = [];
  readonly #literals: Node[] = [];
  #count = 0;

  walk(value: unknown): void {
    if (Array.isArray(value)) for (const part of value) this.walk(part);
    else if (typeof value === 'object' && value !== null && !(value instanceof RegExp)) {
      if (++this.#count > limits.nodes) throw new NotAllowed(`it has more than ${limits.nodes} parts`);
      const skipped = this.#visit(value as Node);
      for (const [key, part] of Object.entries(value)) {
        // Slots of `%` are shared between parts and hold no parts themselves.
        if (!skipped.has(key) && !['ancestor', 'slot', 'seekingParent', 'signature'].includes(key)) this.walk(part);
      }
    }
  }

  #mark(value: unknown, mark: number): void {
    if (typeof value !== 'object' || value === null) return;
    this.marks.set(value, (this.marks.get(value) ?? 0) | mark);
  }

  /** @returns members that hold names which are given here, not used */
  #visit(node: Node): ReadonlySet<string> {
    for (const name of [node.focus, node.index]) if (typeof name === 'string') this.#bound.add(name);
    if (node.keepArray === true || node.keepSingletonArray === true || node.group !== undefined) this.mutates = true;
    for (const stage of [...list(node.predicate), ...list(node.stages)] as Node[]) this.#mark(stage.expr, marks.tested);
    if (node.group) this.#pairs(node.group as Node, isTuples(node) ? marks.tupleKey : 0);
    for (const term of list(node.terms) as Node[]) this.#mark(term.expression, marks.sortTerm | marks.whole);
    switch (node.type) {
      case 'variable':
        if (node.value !== '' && node.value !== '$') this.#used.push(node);
        return none;
      case 'regex':
        this.#literals.push(node);
        return none;
      case 'bind':
        this.#bound.add(String((node.lhs as Node).value));
        return binds;
      case 'lambda':
        return this.#lambda(node);
      case 'index':
        this.#bound.add(String(node.value));
        return none;
      case 'function':
      case 'partial':
        this.#call(node);
        return none;
      default:
        this.#operator(node);
        return none;
    }
  }

  #lambda(node: Node): ReadonlySet<string> {
    // A signature is matched by a regular expression that is made of it, and that can take forever.
    if (node.signature !== undefined)
      throw new NotAllowed(`${at(node)}a function with a signature <…> is not supported`);
    for (const parameter of list(node.arguments) as Node[]) this.#bound.add(String(parameter.value));
    this.#mark(node.body, marks.tested);
    return parameters;
  }

  #call(node: Node): void {
    const steps = list((node.procedure as Node | undefined)?.steps) as Node[];
    const name = steps.length === 1 ? String(steps[0]?.value) : '';
    if (builtinNames.has(name)) throw new NotAllowed(`${at(node)}${name} is a field; the function is $${name}`);
    // To call what is no function leaves a mark on it.
    if (steps.length > 0) this.mutates = true;
  }

  #operator(node: Node): void {
    const { type, value, lhs, rhs } = node;
    if (type === 'binary') {
      const of = operands(String(value));
      this.#mark(lhs, of);
      this.#mark(rhs, of);
      if (value === '&') this.#mark(node, marks.text);
      if (value === '..') this.#mark(node, marks.range);
    } else if (type === 'unary' && value === '-') {
      this.#mark(node.expression, marks.whole);
    } else if (type === 'unary' && value === '[') {
      this.#mark(node, marks.list);
    } else if (type === 'unary' && value === '{') {
      this.#mark(node, marks.map);
      this.#pairs(node, 0);
    } else if (type === 'condition') {
      this.#mark(node.condition, marks.tested);
    } else if (type === 'transform') {
      this.mutates = true;
      this.#mark(node.update, marks.change | marks.whole);
      this.#mark(node.delete, marks.change | marks.whole);
    }
  }

  #pairs(node: Node, keyMark: number): void {
    for (const pair of list(node.lhs)) {
      const [key, value] = list(pair);
      this.#mark(key, marks.whole | keyMark);
      this.#mark(value, marks.member);
    }
  }

  /** JSONata copies what is before `?:` and `??` as JSON, which makes `{}` of a regular expression. */
  restoreRegexes(): void {
    const originals = new Map<number | undefined, RegExp>();
    for (const { value, position } of this.#literals) if (value instanceof RegExp) originals.set(position, value);
    for (const node of this.#literals) {
      const literal = node.value instanceof RegExp ? node.value : originals.get(node.position);
      if (literal === undefined) throw new NotAllowed(`${at(node)}a regular expression cannot stand here`);
      node.value = literal;
      if (this.regexes.has(literal)) continue;
      try {
        this.regexes.set(literal, compileRegex(literal.source, literal.flags));
      } catch (error) {
        throw new NotAllowed(at(node) + (error as Error).message);
      }
    }
  }

  checkNames(known: readonly string[]): void {
    for (const node of this.#used) {
      const name = String(node.value);
      if (name === 'eval') throw new NotAllowed(`${at(node)}$eval is not supported: write the expression itself`);
      if (this.#bound.has(name) || builtinNames.has(name) || known.includes(name)) continue;
      const allowed = ['$$', ...known.map((each) => `$${each}`)].join(', ');
      throw new NotAllowed(`${at(node)}$${name} is not known; allowed: ${allowed} and the functions of JSONata`);
    }
    if (this.#bound.has('eval')) throw new NotAllowed('$eval is not supported, not even as a name of your own');
  }
}

function operands(operator: string): number {
  if (operator === 'and' || operator === 'or') return marks.tested;
  if (operator === '&') return marks.joined;
  return ['=', '!=', '<', '<=', '>', '>=', 'in'].includes(operator) ? marks.whole : 0;
}

const isTuples = (node: Node) =>
  node.tuple === true || (list(node.steps) as Node[]).some((step) => step.tuple === true);
