import type { Problem } from './errors.ts';

/**
 * A rule that spans fields. It stands once, in both languages: CEL for the API server, a function for everywhere else.
 * `check` gets the value as the user wrote it, so it must bear parts that are missing or of a wrong type.
 */
export interface Rule {
  /** `undefined` where the structural schema says it already (list keys). */
  readonly cel?: string;
  /** What the API server prints. */
  readonly message: string;
  /** In CEL: the text that the API server adds, of what was found. {@link Problem} messages of `check` say it always. */
  readonly found?: string;
  /** Field that the API server names, relative to the object with the rule: `.serve`. */
  readonly fieldPath?: string;
  check(value: unknown, path: string): Problem[];
}

/** Metadata for the zod schema that `rules` belong to; the generator copies it into the CRD. */
export function celRules(rules: readonly Rule[]): { 'x-kubernetes-validations': object[] } {
  return {
    'x-kubernetes-validations': rules.flatMap(({ cel, message, found, fieldPath }) => {
      if (cel === undefined) return [];
      const messageExpression = found === undefined ? undefined : `'${message}; found ' + ${found}`;
      return [{ rule: cel, message, ...(messageExpression && { messageExpression }), ...(fieldPath && { fieldPath }) }];
    }),
  };
}

/** Metadata of a list whose entries are told apart by `keys`: the API server refuses two with one key. */
export const listMap = (...keys: string[]) => ({ 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': keys });
export const atomicList = { 'x-kubernetes-list-type': 'atomic' };

/** `value[key]`, where `value` may be anything. */
export function member(value: unknown, key: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[key] : undefined;
}

export function members(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}

/** A value as an error message shows it: JSON, bounded in length, without the user and password of a URL. */
export function show(value: unknown, limit = 80): string {
  let text: string;
  if (value === undefined) text = 'nothing';
  else if (typeof value === 'string') text = JSON.stringify(value.replace(/:\/\/\S*@/, '://…@').slice(0, limit + 1));
  else if (Array.isArray(value)) text = value.length === 0 ? 'an empty list' : `a list of ${value.length}`;
  else if (typeof value === 'object' && value !== null) text = 'a map';
  else text = String(value);
  return text.length > limit ? `${text.slice(0, limit)}…` : text;
}
