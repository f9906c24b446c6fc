import {
  Composer,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type Document as Parsed,
  type YAMLMap,
} from 'yaml';
import { type Problem, problem } from '../../api/errors.ts';
import { formatPath, type Path, parsePath } from '../../api/path.ts';
import { member } from '../../api/rules.ts';
import { convert, isMerge, mergeSources, sourceText, type Targets } from './convert.ts';
import type { SourceOf } from './schema.ts';
import { type Refuse, tokens } from './tokens.ts';

/** Both count from 1. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

/** One document of a file, or one item of a `List`. */
export interface Document {
  readonly value: unknown;
  readonly sourceOf: SourceOf;
  /** Where a problem is: at the value, at the key of a map, a list or an unknown field, else at what should hold it. */
  locate(found: Pick<Problem, 'code' | 'path'>): Position;
}

/** Syntax errors that are reported for one document; what follows is mostly the echo of the first. */
const maxSyntaxErrors = 10;

/** Every document of a file, as kubectl would read it, and everything that is wrong with the YAML itself. */
export function readYaml(text: string): { documents: Document[]; problems: Array<Problem & Position> } {
  const lines = new LineCounter();
  const at = (offset: number): Position => {
    const { line, col } = lines.linePos(offset);
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  const composer = new Composer({
    schema: 'failsafe', // plainScalar reads the scalars: the library's YAML 1.1 is not kubectl's
    uniqueKeys: false, // convert looks for repeated keys; the library takes quadratic time for that
    prettyErrors: false,
    logLevel: 'silent',
  });
  const errors: Array<{ detail: string; offset: number }> = [];
  const refuse: Refuse = (detail, offset) => errors.push({ detail, offset });
  const parsed = [...composer.compose(tokens(text, lines, refuse))];
  const broken = new Set(parsed.filter((document) => document.errors.length > 0));
  for (const document of broken) {
    for (const { message, pos } of document.errors.slice(0, maxSyntaxErrors)) refuse(plainer(message), pos[0]);
  }
  // Lines are counted while tokens are read, so positions are known only now.
  const problems = errors.map(({ detail, offset }) => ({ ...problem('YamlSyntax', '', { detail }), ...at(offset) }));
  const documents = parsed.flatMap((document) => (broken.has(document) ? [] : convertDocument(document, at, problems)));
  return { documents, problems };
}

/** The library's message, or what it means to somebody who has written an expression as it stands in the docs' prose. */
const plainer = (message: string): string =>
  message.includes('directive indicator character %')
    ? "found text that begins with %; allowed: quoted text, and so are expressions: '{% … %}'"
    : message;

type Locate = (offset: number) => Position;

function convertDocument(document: Parsed, at: Locate, problems: Array<Problem & Position>): Document[] {
  const { value, mistakes, targets } = convert(document);
  // What is wrong inside an anchor is said once, not once an alias.
  const distinct = new Map(mistakes.toReversed().map((mistake) => [`${mistake.code}@${mistake.offset}`, mistake]));
  for (const { code, params, path, offset } of [...distinct.values()].reverse()) {
    problems.push({ ...problem(code, formatPath(path), params), ...at(offset) });
  }
  return value === null ? [] : itemsOf(value, [], new Finder(document.contents, targets), at);
}

/** The documents that a value is: one, or those of a `List`, which kubectl applies one by one. */
function itemsOf(value: unknown, base: Path, finder: Finder, at: Locate): Document[] {
  const items = member(value, 'items');
  if (member(value, 'kind') === 'List' && member(value, 'apiVersion') === 'v1' && Array.isArray(items)) {
    return items.flatMap((item, index) => itemsOf(item, [...base, 'items', index], finder, at));
  }
  return [
    {
      value,
      sourceOf: (path) => sourceText(finder.resolve(finder.find([...base, ...path]).value)),
      locate: ({ code, path }) => at(offsetOf(finder.find([...base, ...parsePath(path)]), code === 'UnknownField')),
    },
  ];
}

/** A place in a document: the node of a value and, in a map, of its key. */
interface Found {
  readonly key: Node | null;
  readonly value: Node | null;
}

function offsetOf({ key, value }: Found, atKey: boolean): number {
  const isText = isScalar(value) && value.source !== '';
  const node = key && (atKey || !isText) ? key : value;
  return node?.range?.[0] ?? 0;
}

/** Finds the nodes of values. */
class Finder {
  readonly #root: Node | null;
  readonly #targets: Targets;
  /** The entries of each map that was looked into, by key: a document may have a problem an entry. */
  readonly #entries = new Map<Node, Map<string | number | undefined, Found>>();

  constructor(root: Node | null, targets: Targets) {
    this.#root = root;
    this.#targets = targets;
  }

  /** Follows `path` as far as it goes. */
  find(path: Path): Found {
    let found: Found = { key: null, value: this.#root };
    for (const part of path) {
      const next = this.#child(this.resolve(found.value), part);
      if (!next) break;
      found = next;
    }
    return found;
  }

  /** What an alias stands for. */
  resolve(node: Node | null): Node | null {
    return isAlias(node) ? (this.#targets.get(node) ?? null) : node;
  }

  #child(node: Node | null, part: string | number): Found | undefined {
    if (isMap<Node, Node | null>(node)) return this.#entriesOf(node).get(part);
    const value = isSeq<Node>(node) && typeof part === 'number' ? node.items[part] : undefined;
    return value && { key: null, value };
  }

  #entriesOf(map: YAMLMap<Node, Node | null>): Map<string | number | undefined, Found> {
    const known = this.#entries.get(map);
    if (known) return known;
    const entries = new Map<string | number | undefined, Found>();
    this.#entries.set(map, entries);
    for (const pair of map.items) {
      if (!isMerge(pair)) continue;
      for (const source of mergeSources(pair).toReversed()) {
        const target = this.resolve(source);
        if (isMap<Node, Node | null>(target))
          for (const [key, found] of this.#entriesOf(target)) entries.set(key, found);
      }
    }
    for (const { key, value } of map.items) if (isScalar(key)) entries.set(key.source, { key, value });
    return entries;
  }
}
