import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LevadaError } from '../errors.ts';
import { assignViolations, compileSchema, violationError } from './event-schema.ts';

type Schema = Readonly<Record<string, unknown>>;

const order: Schema = {
  type: 'object',
  required: ['order_id', 'items'],
  properties: {
    order_id: { type: 'integer', minimum: 1 },
    items: { type: 'array', minItems: 1, items: { $ref: '#/$defs/item' } },
    status: { enum: ['new', 'paid'] },
  },
  additionalProperties: false,
  $defs: {
    item: { type: 'object', required: ['sku'], properties: { sku: { type: 'string', pattern: '^[a-z]+-\\d+$' } } },
  },
};

describe('violations', () => {
  const payment: Schema = {
    oneOf: [
      { type: 'object', required: ['card'], properties: { card: { type: 'string' } }, additionalProperties: false },
      { type: 'object', required: ['iban'], properties: { iban: { type: 'string' } }, additionalProperties: false },
    ],
  };
  const kinds: Schema = {
    anyOf: [
      { properties: { kind: { const: 'a' }, n: { type: 'number' } } },
      { properties: { kind: { const: 'b' }, n: { type: 'string' } } },
    ],
  };
  it.each<[Schema, unknown, string, string, string]>([
    [order, {}, 'order_id', 'nothing', 'required'],
    [order, { order_id: 1 }, 'items', 'nothing', 'required'],
    [order, { order_id: 'x', items: [{ sku: 'a-1' }] }, 'order_id', '"x"', 'a whole number'],
    [order, { order_id: 0, items: [{ sku: 'a-1' }] }, 'order_id', '0', 'at least 1'],
    [order, { order_id: 1, items: [] }, 'items', 'an empty list', 'at least 1 item'],
    [order, { order_id: 1, items: [{ sku: 'a-1' }, {}] }, 'items[1].sku', 'nothing', 'required'],
    [order, { order_id: 1, items: [{ sku: '1' }] }, 'items[0].sku', '"1"', 'text that matches ^[a-z]+-\\d+$'],
    [
      order,
      { order_id: 1, items: [{ sku: 'a-1' }], more: 5 },
      'more',
      '5',
      'no such field; there are order_id, items, status',
    ],
    [order, { order_id: 1, items: [{ sku: 'a-1' }], status: 'old' }, 'status', '"old"', 'one of new, paid'],
    [order, [], '', 'an empty list', 'a map'],
    [{ type: ['string', 'null'] }, 1, '', '1', 'text or null'],
    [{ type: 'boolean' }, 'yes', '', '"yes"', 'true or false'],
    [{ type: 'array' }, {}, '', 'a map', 'a list'],
    [{ const: 5 }, 6, '', '6', '5'],
    [{ exclusiveMinimum: 0 }, 0, '', '0', 'more than 0'],
    [{ exclusiveMaximum: 5 }, 5, '', '5', 'less than 5'],
    [{ maximum: 5 }, 6, '', '6', 'at most 5'],
    [{ multipleOf: 0.5 }, 0.7, '', '0.7', 'a multiple of 0.5'],
    [{ minLength: 2 }, '😀', '', '"😀"', 'at least 2 characters'],
    [{ maxLength: 1 }, 'ab', '', '"ab"', 'at most 1 character'],
    [{ format: 'date-time' }, '2026-13-01', '', '"2026-13-01"', 'the format date-time'],
    [{ format: 'email' }, 'a@', '', '"a@"', 'the format email'],
    [{ format: 'regex' }, '(?=a)', '', '"(?=a)"', 'the format regex'],
    [{ maxItems: 1 }, [1, 2], '', 'a list of 2', 'at most 1 item'],
    [
      { uniqueItems: true },
      [
        { a: 1, b: 2 },
        { b: 2, a: 1 },
      ],
      '',
      'items that are the same',
      'items that differ',
    ],
    [{ prefixItems: [{}], items: false }, [1, 2], '', 'a list of 2', 'at most 1 item'],
    [{ contains: { type: 'string' } }, [1], '', 'a list of 1', 'at least 1 item of the kind that the schema wants'],
    [{ minProperties: 1 }, {}, '', 'a map of 0', 'at least 1 field'],
    [{ propertyNames: { pattern: '^a' } }, { b: 1 }, 'b', 'the name "b"', 'another name for the field'],
    [{ dependentRequired: { a: ['b'] } }, { a: 1 }, 'b', 'nothing', 'required beside a'],
    [{ not: { type: 'string' } }, 'x', '', '"x"', 'anything but what the schema rules out'],
    [{ properties: { a: false } }, { a: 1 }, 'a', '1', 'nothing'],
    [{ properties: { a: {} }, unevaluatedProperties: false }, { z: 1 }, 'z', '1', 'no such field; there are a'],
    [JSON.parse('{"if": {"required": ["a"]}, "then": {"required": ["b"]}}'), { a: 1 }, 'b', 'nothing', 'required'],
    [{ anyOf: [{ type: 'string' }, { type: 'number' }] }, true, '', 'true', 'text or a number'],
    [
      { oneOf: [{ minimum: 1 }, { minimum: 2 }] },
      3,
      '',
      '3',
      'exactly one of the forms of oneOf; it has forms 1 and 2',
    ],
    [payment, { card: 5 }, 'card', '5', 'text'],
    [kinds, { kind: 'a', n: 'x' }, 'n', '"x"', 'a number'],
    [{ required: ['constructor'] }, {}, 'constructor', 'nothing', 'required'],
    [
      { properties: { 'a/b': { properties: { 1: { type: 'string' } } } } },
      { 'a/b': { 1: 2 } },
      '[a/b]["1"]',
      '2',
      'text',
    ],
    [{ properties: { 'a~b': { items: { type: 'null' } } } }, { 'a~b': [null, 1] }, '["a~b"][1]', '1', 'null'],
  ])('%j on %j', (schema, value, field, found, allowed) => {
    expect(compileSchema(schema).check(value)).toEqual({ field, found, allowed });
  });

  it.each<[Schema, unknown]>([
    [order, { order_id: 1, items: [{ sku: 'a-1', more: true }], status: 'paid' }],
    [{ type: 'string', pattern: '^\\p{L}+$' }, 'Ünï'],
    [{ pattern: '^a', $comment: 'x', title: 'x', description: 'x', default: 'b', examples: [1] }, 'ab'],
    [{ $schema: 'https://json-schema.org/draft/2020-12/schema', $id: 'https://example.com/order' }, 1],
    [{ format: 'uuid' }, '123e4567-e89b-12d3-a456-426614174000'],
    [{ format: 'uri' }, 'https://example.com/a?b=c'],
    [{ format: 'byte' }, 'AAAA'.repeat(100_000)],
    [{ uniqueItems: true }, [1, '1', [1], { a: 1 }, { a: '1' }, null]],
    [{ uniqueItems: true }, Array.from({ length: 20_000 }, (_, id) => ({ id, tags: ['a', 'b'] }))],
  ])('%j is met', (schema, value) => {
    expect(compileSchema(schema).check(value)).toBeUndefined();
  });

  it('is an error that a client is answered with', () => {
    const violation = compileSchema(order).check([]);
    const error = violationError(violation!, 'the body');
    expect(error).toMatchObject({ code: 'EventBreaksSchema', params: { field: 'the body' } });
    expect(error.message).toBe('the body: found an empty list; allowed: a map');
    expect(violationError(violation!).params.field).toBe('the data');
  });
});

describe('values that are made to be slow', () => {
  const tree: Schema = {
    $ref: '#/$defs/node',
    $defs: {
      node: {
        type: 'object',
        anyOf: [
          { required: ['x'], properties: { next: { $ref: '#/$defs/node' } } },
          { required: ['y'], properties: { next: { $ref: '#/$defs/node' } } },
          { required: ['z'], properties: { next: { $ref: '#/$defs/node' } } },
        ],
      },
    },
  };
  const chain = (length: number): object => (length === 0 ? {} : { x: 1, y: 1, z: 1, next: chain(length - 1) });
  const tooMuch = { field: '', found: expect.stringContaining('too much to check'), allowed: 'a simpler value' };
  it.each<[string, Schema, unknown]>([
    ['many ways through a recursive schema', tree, chain(60)],
    ['deep', {}, JSON.parse('['.repeat(100_000) + ']'.repeat(100_000))],
    [
      'a pattern of many instructions on long text',
      { pattern: '(a?){500}b{500}$' },
      `${'b'.repeat(500)}${'a'.repeat(2_000_000)}`,
    ],
  ])('%s', (_, schema, value) => {
    expect(compileSchema(schema).check(value)).toEqual(tooMuch);
  });

  it.each(['^(x+x+)+y$', '^(([a-z])+.)+[A-Z]([a-z])+$', '(x*)*$y'])('the pattern %s', (pattern) => {
    const violation = compileSchema({ pattern }).check('x'.repeat(50_000));
    expect(violation?.allowed).toBe(`text that matches ${pattern}`);
  });

  it.each(['email', 'url', 'uri', 'hostname', 'uri-template', 'json-pointer', 'duration', 'ipv6', 'date-time'])(
    'the format %s',
    (format) => {
      const violation = compileSchema({ format }).check(`http://${'a@.-'.repeat(50_000)}!\n`);
      expect(violation?.allowed).toBe(`the format ${format}`);
    },
  );
});

describe('mistakes in schemas', () => {
  it.each<[Schema, string]>([
    [{ type: 'objct' }, 'data/type must be equal to one of the allowed values'],
    [{ propertes: {} }, 'unknown keyword: "propertes"'],
    [{ properties: { a: { requird: [] } } }, 'unknown keyword: "requird"'],
    [{ format: 'dat' }, 'unknown format "dat"'],
    [{ pattern: '(?=a)' }, 'the regular expression /(?=a)/ is not one of RE2'],
    [{ pattern: '(' }, 'the regular expression /(/ is not one of RE2'],
    [{ patternProperties: { '(a)\\1': {} } }, 'is not one of RE2'],
    [{ $ref: 'https://example.com/other.json' }, '$ref "https://example.com/other.json" leads to nothing inside'],
    [{ $ref: '#/$defs/gone' }, '$ref "#/$defs/gone" leads to nothing inside the schema'],
    [{ $ref: '#' }, 'it refers to itself without end'],
    [{ allOf: [{ $ref: '#/$defs/a' }], $defs: { a: { anyOf: [{ $ref: '#' }] } } }, 'it refers to itself without end'],
    [{ $schema: 'http://json-schema.org/draft-07/schema#' }, 'draft-07'],
    [{ minimum: 'x' }, 'minimum must be number'],
    [JSON.parse(`${'{"not":'.repeat(1000)}{}${'}'.repeat(1000)}`), 'nested deeper than'],
  ])('%j', (schema, detail) => {
    let error: unknown;
    try {
      compileSchema(schema);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(LevadaError);
    expect(error).toMatchObject({ code: 'SchemaInvalid' });
    expect(String((error as LevadaError).params.detail)).toContain(detail);
  });
});

describe('assignViolations', () => {
  const schema: Schema = {
    type: 'object',
    properties: {
      sku: { $ref: '#/$defs/sku' },
      total: { type: 'number' },
      tags: { type: 'array', items: { type: 'string' } },
      'a/b %': { type: 'number' },
      either: { oneOf: [{ type: 'string' }, { type: 'number' }] },
    },
    required: ['id'],
    patternProperties: { '^x-': { type: 'string' } },
    additionalProperties: false,
    allOf: [{ $ref: '#/$defs/more' }],
    $defs: { sku: { type: 'string', maxLength: 3 }, more: { properties: { total: { minimum: 5 } } } },
  };
  it.each<[Record<string, unknown>, Array<{ field: string; detail: string }>]>([
    [{}, []],
    [{ sku: 'abc', total: 5, tags: ['a'], 'x-y': 'z', either: 1, 'a/b %': 1 }, []],
    [{ sku: 'abcd' }, [{ field: 'sku', detail: 'sku: found "abcd"; allowed: at most 3 characters' }]],
    [{ total: 4 }, [{ field: 'total', detail: 'total: found 4; allowed: at least 5' }]],
    [{ total: '{% "four" %}' }, []],
    [{ tags: ['a', 1] }, [{ field: 'tags', detail: 'tags[1]: found 1; allowed: text' }]],
    [{ tags: ['a', '{% 1 %}'] }, []],
    [{ either: true }, [{ field: 'either', detail: 'either: found true; allowed: text or a number' }]],
    [{ 'x-y': 1 }, [{ field: 'x-y', detail: 'x-y: found 1; allowed: text' }]],
    [{ 'a/b %': 'z' }, [{ field: 'a/b %', detail: 'a/b %: found "z"; allowed: a number' }]],
    [{ other: '{% 1 %}' }, [{ field: 'other', detail: 'other: there is no such field in the schema' }]],
    [
      { other: 1, sku: 5 },
      [
        { field: 'other', detail: 'other: there is no such field in the schema' },
        { field: 'sku', detail: 'sku: found 5; allowed: text' },
      ],
    ],
  ])('%j', (assign, wanted) => {
    expect(assignViolations(schema, assign)).toEqual(wanted);
  });

  it('does not judge what another branch may allow', () => {
    const open: Schema = { anyOf: [{ properties: { a: { type: 'string' } } }, {}], unevaluatedProperties: false };
    expect(assignViolations(open, { a: 1, b: 2 })).toEqual([]);
    expect(assignViolations({ unevaluatedProperties: false }, { b: 2 })).toHaveLength(1);
    expect(assignViolations({ additionalProperties: { type: 'string' } }, { b: 2 })).toHaveLength(1);
    expect(
      assignViolations({ $id: 'https://example.com/x', properties: { a: { type: 'string' } } }, { a: 2 }),
    ).toHaveLength(1);
  });

  it('a literal that is judged breaks the whole schema, too', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.constantFrom('sku', 'total', 'tags', 'either', 'x-y', 'other'), (value, field) => {
        fc.pre(!JSON.stringify(value).includes('{%'));
        const alone = assignViolations({ ...schema, required: [] }, { [field]: value });
        const whole = compileSchema({ ...schema, required: [] }).check({ [field]: value });
        expect(alone.length === 0).toBe(whole === undefined);
      }),
      { numRuns: 60 },
    );
  });
});
