import { parseDuration } from '../duration.ts';
import { type Problem, problem } from '../errors.ts';
import { member, members, type Rule, show } from '../rules.ts';

/** Patterns that messages have names for. Both JavaScript and Go read them, and `\s` is not the same to both. */
export const eventTypePattern = /^[A-Za-z0-9][A-Za-z0-9_-]*([.][A-Za-z0-9_-]+)*$/;
export const durationPattern = /^([0-9]{1,9}(ms|s|m|h|d))+$/;
export const wrappedPattern = /^\{%[\s\S]*%\}$/;
/** Text without `{%`: nobody can take it for an expression. */
export const literalPattern = /^([^{]|\{+[^{%])*\{*$/;
/** An expression, whole, or a literal. */
export const wrappedOrLiteralPattern = /^(\{%[\s\S]*%\}|([^{]|\{+[^{%])*\{*)$/;
/** http or https, without user and password (those belong to a Secret) and without a fragment. */
export const urlPattern = /^https?:\/\/([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?([/?][!"$-~]*)?$/;

/** Milliseconds between bounds. CEL's `duration()` knows no days, so its rule adds up milliseconds as well. */
export function durationRule(field: string, min: string, max: string): Rule {
  const least = parseDuration(min) ?? 0;
  const most = parseDuration(max) ?? 0;
  const sum =
    `self.${field}.findAll('[0-9]+[a-z]+').map(p, int(p.find('[0-9]+')) * ` +
    `{'ms': 1, 's': 1000, 'm': 60000, 'h': 3600000, 'd': 86400000}[p.find('[a-z]+')]).sum()`;
  return {
    // The schema's pattern refuses what is no duration; a sum of it would be an error of its own.
    cel: `!has(self.${field}) || !self.${field}.matches('${durationPattern.source}') || (${sum} >= ${least} && ${sum} <= ${most})`,
    message: `${field} is between ${min} and ${max}`,
    found: `self.${field}`,
    fieldPath: `.${field}`,
    check(value, path) {
      const found = member(value, field);
      if (typeof found !== 'string' || !durationPattern.test(found)) return [];
      const ms = parseDuration(found) ?? 0;
      if (ms >= least && ms <= most) return [];
      return [problem('InvalidValue', `${path}.${field}`, { found: show(found), allowed: `${min} to ${max}` })];
    },
  };
}

/** Exactly one of `names` is there. */
export function oneOf(names: readonly string[]): Rule {
  return {
    cel: `[${names.map((name) => `has(self.${name})`).join(', ')}].filter(x, x).size() == 1`,
    message: `exactly one of ${names.join(', ')}`,
    // Without join(), whose cost the API server takes for unbounded.
    found: `'[' + ${names.map((name) => `(has(self.${name}) ? ' ${name}' : '')`).join(' + ')} + ' ]'`,
    check(value, path) {
      const found = names.filter((name) => member(value, name) !== undefined);
      if (found.length === 1 || typeof value !== 'object' || value === null) return [];
      return [
        problem('NotOneMember', path, { found: found.join(' and ') || 'none of them', allowed: names.join(', ') }),
      ];
    },
  };
}

/** Bytes of a name and of a routing key, as AMQP 0-9-1 sends them. */
const shortTextBytes = 255;
const bytesOf = (text: string): number => new TextEncoder().encode(text).length;

/** A literal that AMQP can send: letters beyond ASCII take several bytes. What an expression gives is known later. */
export function shortTextRule(field: string): Rule {
  const literal = `self.${field}.startsWith('{%')`;
  return {
    cel: `!has(self.${field}) || ${literal} || size(bytes(self.${field})) <= ${shortTextBytes}`,
    message: `${field} has at most ${shortTextBytes} bytes`,
    fieldPath: `.${field}`,
    check(value, path) {
      const found = member(value, field);
      if (typeof found !== 'string' || found.startsWith('{%') || bytesOf(found) <= shortTextBytes) return [];
      const allowed = `at most ${shortTextBytes} bytes`;
      return [problem('InvalidValue', `${path}.${field}`, { found: show(found), allowed })];
    },
  };
}

/** A name that somebody else may have given: Levada's own begin otherwise, and the broker's. */
export function brokerNameRule(field: string, reserved: readonly string[]): Rule {
  const begin = reserved.map((prefix) => `self.${field}.startsWith('${prefix}')`).join(' || ');
  const prefixes = reserved.join(' or ');
  return {
    cel: `!has(self.${field}) || !(${begin})`,
    message: `${field} does not begin with ${prefixes}`,
    fieldPath: `.${field}`,
    check(value, path) {
      const found = member(value, field);
      if (typeof found !== 'string' || !reserved.some((prefix) => found.startsWith(prefix))) return [];
      const allowed = `a name that does not begin with ${prefixes}`;
      return [problem('InvalidValue', `${path}.${field}`, { found: show(found), allowed })];
    },
  };
}

/** `field` has a meaning beside `other` alone. */
export function onlyBeside(field: string, other: string): Rule {
  return {
    cel: `!has(self.${field}) || has(self.${other})`,
    message: `${field} is allowed beside ${other} only`,
    fieldPath: `.${field}`,
    check(value, path) {
      const found = member(value, field);
      if (found === undefined || (member(value, other) ?? null) !== null) return [];
      return [problem('InvalidValue', `${path}.${field}`, { found: show(found), allowed: `beside ${other} only` })];
    },
  };
}

const noProto = '__proto__';

/** The key `__proto__`, which JavaScript's objects lose. The API server cannot say it of members of any form. */
export function plainKeys(field: string, what = 'names', cel?: string): Rule {
  return {
    ...(cel !== undefined && { cel }),
    message: `keys of ${field} are ${what}`,
    fieldPath: `.${field}`,
    check(value, path) {
      const map = member(value, field);
      if (typeof map !== 'object' || map === null || !Object.hasOwn(map, noProto)) return [];
      return [problem('InvalidValue', `${path}.${field}.${noProto}`, { found: noProto, allowed: 'another name' })];
    },
  };
}

/** Entries of a list differ; the structural schema says so by the list's type. */
export function duplicates(list: string): Rule {
  return {
    message: `entries of ${list} differ`,
    check: (value, path) => repeated(members(member(value, list)), (index) => `${path}.${list}[${index}]`),
  };
}

function repeated(names: readonly unknown[], pathOf: (index: number) => string): Problem[] {
  const seen = new Set<unknown>();
  return names.flatMap((name, index) => {
    if (name === undefined || !seen.has(name)) {
      seen.add(name);
      return [];
    }
    return [problem('DuplicateName', pathOf(index), { found: show(name) })];
  });
}

/** Names of a list differ; the structural schema says so by the list's keys. */
export function duplicateNames(list: string): Rule {
  return {
    message: `names of ${list} differ`,
    check(spec, path) {
      const names = members(member(spec, list)).map((entry) => member(entry, 'name'));
      return repeated(names, (index) => `${path}.${list}[${index}].name`);
    },
  };
}
