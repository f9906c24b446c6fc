import { Ajv2020, type ErrorObject, type FuncKeywordDefinition, type ValidateFunction } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import { limits } from './limits.ts';
import { LimitExceeded, Meter } from './meter.ts';
import { compileRegex, type SafeRegex } from './regex.ts';
import { canonical } from './rewritten.ts';

export type Schema = Readonly<Record<string, unknown>>;

/**
 * Checks values against JSON Schemas in bounded time. `pattern` and formats run on RE2; `uniqueItems` compares by a hash
 * instead of each with each; following a `$ref` is counted, for recursive schemas can take a value apart in
 * exponentially many ways. All of it is paid from one meter for each check.
 */
export class Validator {
  /** Has compiled what judges schemas, once: that takes longer than all else that is done with one. */
  static #judge: Validator | undefined;
  readonly #ajv: Ajv2020;
  /** A check runs without a pause, so one meter at a time is enough. */
  #meter = new Meter();

  constructor() {
    const regExp = Object.assign((pattern: string, flags: string) => this.#regex(pattern, flags), { code: '' });
    this.#ajv = new Ajv2020({
      // An unknown keyword or format would be ignored: a misspelt one is an error instead.
      strictSchema: true,
      // What these find is legal JSON Schema: types in `allOf`, lists of open length, `required` beside `anyOf`.
      strictTypes: false,
      strictTuples: false,
      strictRequired: false,
      strictNumbers: true,
      allowUnionTypes: true,
      // Data without a member `constructor` inherits one.
      ownProperties: true,
      // The first mistake is reported, with the values that it speaks of.
      allErrors: false,
      verbose: true,
      // Left to the judge.
      validateSchema: false,
      code: { regExp },
      logger: false,
    });
    // ajv-formats is CommonJS: its types and what Node makes of it differ in where the function is.
    (addFormats as unknown as (ajv: Ajv2020) => void)(this.#ajv);
    this.#replaceFormats();
    this.#ajv.removeKeyword('uniqueItems');
    this.#ajv.addKeyword(this.#uniqueItems());
    // After a reference that fails nothing more is looked at.
    this.#ajv.addKeyword({ keyword: stepKeyword, before: '$ref', validate: () => this.#step(), errors: false });
  }

  /** @throws Error of ajv, LimitExceeded */
  static judge(schema: Schema): void {
    Validator.#judge ??= new Validator();
    Validator.#judge.#meter = new Meter();
    void Validator.#judge.#ajv.validateSchema(schema, true); // throws at once; only $async schemas give a promise
  }

  /** @throws Error of ajv */
  add(schema: Schema, base: string): void {
    this.#ajv.addSchema(judged(schema), base);
  }

  /** @throws Error of ajv */
  compile(schema: Schema): ValidateFunction {
    return this.#ajv.compile(judged(schema));
  }

  /**
   * @returns what is wrong, the cause first and what contains it after it; empty: nothing
   * @throws LimitExceeded
   */
  check(validate: ValidateFunction, value: unknown): ErrorObject[] {
    this.#meter = new Meter();
    checkDepth(value, 0);
    try {
      return validate(value) ? [] : (validate.errors ?? []);
    } catch (error) {
      if (error instanceof RangeError) throw new LimitExceeded('the value, or the schema, is nested too deep');
      throw error;
    }
  }

  /** Whether `pattern` of a schema that compiles is found in `text`. */
  matches(pattern: string, text: string): boolean {
    return this.#regex(pattern, 'u').test(text);
  }

  #step(): boolean {
    this.#meter.spend(5);
    return true;
  }

  #regex(pattern: string, flags: string): { test(text: string): boolean; toString(): string } {
    const regex = compileRegex(pattern, flags);
    return {
      test: (text) => this.#test(regex, text),
      // ajv keeps one of each by this text.
      toString: () => `/${pattern}/${flags}`,
    };
  }

  #test(regex: SafeRegex, text: string): boolean {
    return regex.test(text, this.#meter);
  }

  /** Formats that are regular expressions of JavaScript become ones of RE2; the few that RE2 lacks take short text only. */
  #replaceFormats(): void {
    for (const [name, format] of Object.entries(this.#ajv.formats)) {
      const source = format instanceof RegExp ? format : undefined;
      if (source !== undefined) this.#ajv.addFormat(name, this.#boundedFormat(source));
      else if (typeof format === 'function') {
        const check = format as (text: string) => boolean;
        this.#ajv.addFormat(name, (text: string) => text.length <= longestFormat && check(text));
      }
    }
    this.#ajv.addFormat('byte', this.#boundedFormat(/^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/));
    // The original tries `new RegExp`; what RE2 knows is what `pattern` can use.
    this.#ajv.addFormat('regex', (text: string) => text.length <= longestFormat && isRegex(text));
  }

  #boundedFormat(source: RegExp): (text: string) => boolean {
    const regex = formatRegex(source);
    if (!regex) return (text) => text.length <= longestFormat && source.test(text);
    return (text) => this.#test(regex, text);
  }

  #uniqueItems(): FuncKeywordDefinition {
    return {
      keyword: 'uniqueItems',
      type: 'array',
      schemaType: 'boolean',
      error: { message: 'items must differ' },
      validate: (wanted: boolean, items: unknown[]) => {
        if (!wanted) return true;
        this.#meter.everything(items);
        return new Set(items.map((item) => canonical(item))).size === items.length;
      },
    };
  }
}

const formatRegexes = new Map<string, SafeRegex | undefined>();

/** The regular expression of a format, compiled once for all validators; `undefined`: RE2 lacks what it needs. */
function formatRegex({ source, flags }: RegExp): SafeRegex | undefined {
  const key = `${flags}/${source}`;
  if (!formatRegexes.has(key)) {
    try {
      formatRegexes.set(key, compileRegex(source, flags));
    } catch {
      formatRegexes.set(key, undefined);
    }
  }
  return formatRegexes.get(key);
}

/** No host name, no date and no URL that anybody takes is longer. */
const longestFormat = 8192;

function checkDepth(value: unknown, depth: number): void {
  if (typeof value !== 'object' || value === null) return;
  if (depth >= limits.depth) throw new LimitExceeded(`a value is nested deeper than ${limits.depth}`);
  for (const part of Array.isArray(value) ? value : Object.values(value)) checkDepth(part, depth + 1);
}

function isRegex(text: string): boolean {
  try {
    compileRegex(text);
    return true;
  } catch {
    return false;
  }
}

const stepKeyword = 'x-levada-step';

/** Members whose values are data, not schemas. */
const dataKeywords = new Set(['const', 'enum', 'default', 'examples', 'example']);

function judged(schema: Schema): Schema {
  const copy = counted(schema) as Schema;
  Validator.judge(copy);
  return copy;
}

/** A copy of `schema` in which each reference is counted when it is followed. */
function counted(schema: unknown, depth = 0): unknown {
  if (depth > limits.depth) throw new Error(`it is nested deeper than ${limits.depth}`);
  if (Array.isArray(schema)) return schema.map((part) => counted(part, depth + 1));
  if (typeof schema !== 'object' || schema === null) return schema;
  const entries = Object.entries(schema).map(([key, part]) => [
    key,
    dataKeywords.has(key) ? part : counted(part, depth + 1),
  ]);
  const refers = ['$ref', '$dynamicRef'].some((key) => typeof (schema as Schema)[key] === 'string');
  return Object.fromEntries(refers ? [[stepKeyword, true], ...entries] : entries);
}
