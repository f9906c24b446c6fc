import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { fixture, post, type Served, serve, serverConfig } from '../../../test/support/serve.ts';
import { type Datatype, datatypes } from '../tensors.ts';

let all: Served;
let two: Served;
beforeAll(async () => {
  [all, two] = await Promise.all([
    serve(serverConfig(fixture('identity-all'))),
    serve(serverConfig(fixture('two-inputs'))),
  ]);
});
afterAll(() => Promise.all([all.close(), two.close()]));

const names = Object.keys(datatypes) as Datatype[];
const zero = (datatype: Datatype): string => (datatype === 'BYTES' ? '""' : datatype === 'BOOL' ? 'false' : '0');
const bits = (value: unknown) => (Object.is(value, -0) ? '-0' : value);

/** The text of `data` that the identity gives for the text of `data` of one datatype; the others get zeros. */
async function through(datatype: Datatype, data: string, rows: number): Promise<string> {
  const inputs = names.map((name) => {
    const zeros = `[${Array(rows * 2).fill(zero(name))}]`;
    return `{"name":"${name}","datatype":"${name}","shape":[${rows},2],"data":${name === datatype ? data : zeros}}`;
  });
  const { status, text } = await post(
    `${all.url}/v2/models/m/infer`,
    `{"inputs":[${inputs}],"outputs":[{"name":"${datatype}_out"}]}`,
  );
  expect([status, text]).toEqual([200, expect.any(String)]);
  const head = `{"model_name":"m","model_version":"v1","outputs":[{"name":"${datatype}_out","datatype":"${datatype}",`;
  const opening = `${head}"shape":[${rows},2],"data":`;
  expect(text.slice(0, opening.length)).toBe(opening);
  return text.slice(opening.length, -3);
}

describe('every datatype in and out, by its text', () => {
  const cases: [datatype: Datatype, sent: string, got?: string][] = [
    ['BOOL', '[true,false]'],
    ['UINT8', '[0,255]'],
    ['UINT16', '[0,65535]'],
    ['UINT32', '[0,4294967295]'],
    ['UINT64', '[0,18446744073709551615]'],
    ['UINT64', '[9007199254740993,9007199254740992]'],
    ['INT8', '[-128,127]'],
    ['INT16', '[-32768,32767]'],
    ['INT32', '[-2147483648,2147483647]'],
    ['INT64', '[-9223372036854775808,9223372036854775807]'],
    ['INT64', '[9007199254740993,-9007199254740993]'],
    ['INT64', '[[1,9007199254740995]]', '[1,9007199254740995]'],
    ['INT64', '[-0,1.0]', '[0,1]'],
    ['FP16', '[65504,-0.0]'],
    ['FP16', '[0.1,6e-8]', '[0.0999755859375,5.960464477539063e-8]'],
    ['FP32', '[0.1,-0.0]', '[0.10000000149011612,-0.0]'],
    ['FP32', '[3.4028234663852886e+38,1.401298464324817e-45]'],
    ['FP32', '[16777217,1e-50]', '[16777216,0]'],
    ['FP32', '[9007199254740993,-2]', '[9007199254740992,-2]'],
    ['FP64', '[1.7976931348623157e+308,5e-324]'],
    ['FP64', '[-0.0,0.1]'],
    ['BYTES', '["","ü 漢 🜁"]'],
    ['BYTES', '["\\"\\\\\\n\\u0001","</script>"]'],
  ];
  test.each(cases)('%s %s', async (datatype, sent, got = sent) => {
    expect(await through(datatype, sent, 1)).toBe(got);
  });
});

describe('properties', () => {
  const integer = (datatype: Datatype) =>
    fc.bigInt({ min: BigInt(datatypes[datatype].min), max: BigInt(datatypes[datatype].max) });
  const element: Record<Datatype, fc.Arbitrary<bigint | number | boolean | string>> = {
    BOOL: fc.boolean(),
    ...(Object.fromEntries(
      (['UINT8', 'UINT16', 'UINT32', 'UINT64', 'INT8', 'INT16', 'INT32', 'INT64'] as const).map((d) => [d, integer(d)]),
    ) as Record<'UINT8' | 'UINT16' | 'UINT32' | 'UINT64' | 'INT8' | 'INT16' | 'INT32' | 'INT64', fc.Arbitrary<bigint>>),
    FP16: fc.integer({ min: -2048, max: 2048 }),
    FP32: fc.float({ noNaN: true, noDefaultInfinity: true }),
    FP64: fc.double({ noNaN: true, noDefaultInfinity: true }),
    BYTES: fc.string({ unit: 'binary' }).filter((s) => !s.includes('\0')),
  };
  const text = (value: unknown): string =>
    typeof value === 'bigint' ? String(value) : Object.is(value, -0) ? '-0.0' : JSON.stringify(value);

  test.each(names)('%s: what is sent comes back, nested or flat', async (datatype) => {
    const rowsOf = fc.array(fc.tuple(element[datatype], element[datatype]), { minLength: 1, maxLength: 8 });
    await fc.assert(
      fc.asyncProperty(rowsOf, fc.boolean(), async (rows, nested) => {
        const flat = rows.flat().map(text);
        const sent = nested ? `[${rows.map((row) => `[${row.map(text)}]`)}]` : `[${flat}]`;
        const got = await through(datatype, sent, rows.length);
        // Integers by their text, as JSON.parse would round them; numbers by their value, as 1e21 has two spellings.
        if (/INT/.test(datatype)) expect(got).toBe(`[${flat}]`);
        else expect(JSON.parse(got).map(bits)).toEqual(rows.flat().map(bits));
      }),
      { numRuns: 40 },
    );
  });
});

describe('the answer', () => {
  const inputs = [
    { name: 'b', shape: [1, 2], datatype: 'FP32', data: [3, 4] },
    { name: 'a', shape: [1, 2], datatype: 'FP32', data: [1, 2] },
  ];
  const infer = (body: object) => post(`${two.url}/v2/models/m/infer`, { inputs, ...body });
  const sum = { name: 'sum', datatype: 'FP32', shape: [1, 2], data: [4, 6] };
  const product = { name: 'product', datatype: 'FP32', shape: [1, 2], data: [3, 8] };

  test.each([
    [undefined, [sum, product]],
    [[], [sum, product]],
    [[{ name: 'product' }], [product]],
    [
      [{ name: 'product' }, { name: 'sum', parameters: { binary_data: false } }],
      [product, sum],
    ],
  ])('outputs %j', async (outputs, expected) => {
    const { json } = await infer({ outputs });
    expect(json).toEqual({ model_name: 'm', model_version: 'v1', outputs: expected });
  });

  test.each(['', 'x', 'ü "quoted" \\ \n', '__proto__', 'a'.repeat(10_000), '\u2028\u0000'])(
    'echoes the id %j',
    async (id) => {
      const { json } = await infer({ id, parameters: { whatever: 1 } });
      expect([json.id, json.outputs[0].data]).toEqual([id, [4, 6]]);
    },
  );

  test('has no id where none was sent', async () => expect('id' in (await infer({})).json).toBe(false));
});

test.each(['a\0b', '\ud800'])('the string %j is refused: ONNX Runtime would change it', async (odd) => {
  const body = names.map((name) => ({
    name,
    datatype: name,
    shape: [1, 2],
    data: JSON.parse(`[${[zero(name), zero(name)]}]`),
  }));
  const bytes = body.find(({ name }) => name === 'BYTES')!;
  bytes.data = ['ok', odd];
  const { status, error, json } = await post(`${all.url}/v2/models/m/infer`, { inputs: body });
  expect([status, error]).toEqual([400, 'InvalidInput']);
  expect(json.error).toContain(`inputs[${body.indexOf(bytes)}].data[1]: found`);
});
