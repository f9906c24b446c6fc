import {
  type Alias,
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  type Node,
  type Pair,
  visit,
  type YAMLMap,
} from 'yaml';
import type { ErrorCode, ErrorParams } from '../../api/errors.ts';
import type { Path } from '../../api/path.ts';
import { show } from '../../api/rules.ts';
import { plainScalar } from './scalar.ts';
import { scalarText } from './schema.ts';

/** A mistake in a document, with the offset of the node that it is about. */
export interface Mistake {
  readonly code: ErrorCode;
  readonly params: ErrorParams;
  readonly path: Path;
  readonly offset: number;
}

/** What each alias stands for: the anchor of its name that was written last before it. */
export type Targets = ReadonlyMap<Alias, Node>;

/**
 * Values that aliases may add to a document: a billion laughs are refused after `most`, in milliseconds. kubectl refuses
 * documents of more than 1,000 values that come from aliases to 99 %; `perWritten` keeps what is accepted here below that.
 */
const aliasLimit = { least: 900, perWritten: 20, most: 100_000 } as const;

const stringTag = 'tag:yaml.org,2002:str';

interface Conversion {
  readonly targets: Targets;
  readonly mistakes: Mistake[];
  /** Targets of the aliases that are being expanded. */
  readonly open: Set<Node>;
  written: number;
  expanded: number;
}

/** The value that kubectl would send for a document, with everything that kubectl would refuse or silently change. */
export function convert(document: Document): { value: unknown; mistakes: Mistake[]; targets: Targets } {
  const conversion: Conversion = {
    targets: bindAliases(document),
    mistakes: [],
    open: new Set(),
    written: 0,
    expanded: 0,
  };
  const value = toValue(document.contents, [], conversion);
  return { value, mistakes: conversion.mistakes, targets: conversion.targets };
}

/** One walk for all aliases; `alias.resolve()` of the library walks the document once an alias. */
function bindAliases(document: Document): Targets {
  const anchors = new Map<string, Node>();
  const targets = new Map<Alias, Node>();
  visit(document, {
    Node(_, node) {
      if (isAlias(node)) {
        const target = anchors.get(node.source);
        if (target) targets.set(node, target);
      } else if (node.anchor) anchors.set(node.anchor, node);
    },
  });
  return targets;
}

function toValue(node: Node | null, path: Path, conversion: Conversion): unknown {
  if (node === null || !withinLimits(node, path, conversion)) return null;
  if (isAlias(node)) return aliasValue(node, path, conversion);
  checkTag(node, path, conversion);
  if (isMap(node)) return mapValue(node as YAMLMap<Node, Node | null>, path, conversion);
  if (isSeq(node)) return node.items.map((item, index) => toValue(item as Node, [...path, index], conversion));
  return scalarValue(node, path, conversion);
}

function report(conversion: Conversion, code: ErrorCode, path: Path, node: Node, params: ErrorParams): void {
  conversion.mistakes.push({ code, path, params, offset: node.range?.[0] ?? 0 });
}

function checkTag(node: Node, path: Path, conversion: Conversion): void {
  if (node.tag === undefined || node.tag === stringTag) return;
  report(conversion, 'YamlSyntax', path, node, { detail: `found the tag ${show(node.tag)}; allowed: !!str` });
}

function withinLimits(node: Node, path: Path, conversion: Conversion): boolean {
  if (conversion.open.size === 0) conversion.written += 1;
  else conversion.expanded += 1;
  const { least, perWritten, most } = aliasLimit;
  const allowed = Math.min(most, Math.max(least, perWritten * conversion.written));
  if (conversion.expanded <= allowed) return true;
  if (conversion.mistakes.some(({ code }) => code === 'YamlAliasLimit')) return false;
  const detail = `they stand for more than ${allowed} values, where ${conversion.written} are written out`;
  report(conversion, 'YamlAliasLimit', path.slice(0, 3), node, { detail });
  return false;
}

function aliasValue(alias: Alias, path: Path, conversion: Conversion): unknown {
  const target = conversion.targets.get(alias);
  if (!target) {
    report(conversion, 'YamlSyntax', path, alias, { detail: `*${alias.source} has no &${alias.source} before it` });
    return null;
  }
  if (conversion.open.has(target)) {
    report(conversion, 'YamlAliasLimit', path, alias, { detail: `what &${alias.source} marks contains itself` });
    return null;
  }
  conversion.open.add(target);
  const value = toValue(target, path, conversion);
  conversion.open.delete(target);
  return value;
}

/** Entries in the order of the document; a key that is repeated keeps its last value, as for kubectl. */
function mapValue(map: YAMLMap<Node, Node | null>, path: Path, conversion: Conversion): Record<string, unknown> {
  const entries = new Map<string, unknown>();
  const keys = new Set<string>();
  for (const [index, pair] of map.items.entries()) {
    if (isMerge(pair)) {
      if (index > 0) {
        const detail = 'found << after other keys; allowed: << first (kubectl lets it replace the keys before it)';
        report(conversion, 'YamlSyntax', path, pair.key, { detail });
      }
      for (const [key, value] of mergedEntries(pair, path, conversion)) entries.set(key, value);
      continue;
    }
    const key = keyOf(pair, path, conversion);
    if (key === undefined) continue;
    const at = [...path, key];
    if (keys.has(key)) report(conversion, 'YamlDuplicateKey', at, pair.key, { detail: key });
    keys.add(key);
    entries.set(key, toValue(pair.value, at, conversion));
  }
  return Object.fromEntries(entries);
}

export const isMerge = ({ key }: Pair<Node, Node | null>): boolean =>
  isScalar(key) && key.type === 'PLAIN' && key.tag === undefined && key.source === '<<';

/** What `<<` brings: one map, or several of which earlier ones win. */
function mergedEntries(pair: Pair<Node, Node | null>, path: Path, conversion: Conversion): Array<[string, unknown]> {
  const sources = mergeSources(pair);
  return sources.toReversed().flatMap((source) => {
    const target = isAlias(source) ? conversion.targets.get(source) : source;
    if (!isMap(target)) {
      const detail = '<< takes a map, an alias of a map, or a list of these';
      report(conversion, 'YamlSyntax', path, source ?? pair.key, { detail });
      return [];
    }
    return Object.entries((toValue(source, path, conversion) ?? {}) as Record<string, unknown>);
  });
}

/** The maps, or aliases of maps, that a merge key names. */
export function mergeSources({ value }: Pair<Node, Node | null>): Array<Node | null> {
  return isSeq(value) ? (value.items as Node[]) : [value];
}

/** The text of a key; kubectl would turn a boolean or number into text of its own choice. */
function keyOf(pair: Pair<Node, Node | null>, path: Path, conversion: Conversion): string | undefined {
  const { key } = pair;
  conversion.written += 1;
  checkTag(key, path, conversion);
  if (isScalar(key)) {
    const value = plainValue(key);
    if (typeof value === 'string') return value;
    const found = `the key ${scalarText(value, sourceText(key), true)}`;
    report(conversion, 'InvalidType', [...path, key.source ?? ''], key, { found, allowed: 'a string' });
  } else {
    const found = isAlias(key) ? 'an alias as key' : isMap(key) ? 'a map as key' : 'a list as key';
    report(conversion, 'InvalidType', path, key, { found, allowed: 'a string' });
  }
  return undefined;
}

function scalarValue(node: Node, path: Path, conversion: Conversion): unknown {
  const value = plainValue(node);
  if (typeof value === 'number' && !Number.isFinite(value)) {
    const allowed = 'a finite number (JSON has no other)';
    report(conversion, 'InvalidValue', path, node, { found: sourceText(node) ?? '', allowed });
    return null;
  }
  if (typeof value === 'string' && !value.isWellFormed()) {
    report(conversion, 'InvalidValue', path, node, { found: 'half of a surrogate pair', allowed: 'Unicode text' });
  }
  return value;
}

/** The value of a scalar: unquoted ones are looked at, all others are text. */
function plainValue(node: Node): string | number | boolean | null {
  const source = sourceText(node);
  return source === undefined ? String(isScalar(node) ? node.value : '') : plainScalar(source);
}

/** The text of an unquoted scalar without a tag. */
export function sourceText(node: Node | null): string | undefined {
  return isScalar(node) && node.type === 'PLAIN' && node.tag === undefined ? (node.source ?? '') : undefined;
}
