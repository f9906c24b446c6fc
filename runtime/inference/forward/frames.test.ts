import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { allocate, type Datatype, datatypeInfo, datatypes, elements, type Tensor } from '../tensors.ts';
import {
  decodeHello,
  decodeRequests,
  decodeResults,
  encodeGoodbye,
  encodeHello,
  encodeRequests,
  encodeResults,
  FrameError,
  FrameReader,
  frameTypes,
  resultFrames,
} from './frames.ts';

const tensors: fc.Arbitrary<Tensor> = fc
  .record({
    datatype: fc.constantFrom(...(Object.keys(datatypes) as Datatype[])),
    shape: fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 4 }),
    values: fc.array(fc.integer({ min: 0, max: 1 }), { minLength: 1 }),
    texts: fc.array(fc.string({ unit: 'grapheme' }), { minLength: 1 }),
  })
  .map(({ datatype, shape, values, texts }) => {
    const data = allocate(datatype, elements(shape)) as unknown[];
    const { class: kind } = datatypeInfo(datatype);
    for (let i = 0; i < data.length; i++) {
      const value = values[i % values.length] as number;
      data[i] = kind === 'string' ? texts[i % texts.length] : kind === 'bigint' ? BigInt(value) : value;
    }
    return { datatype, shape, data: data as unknown as string[] };
  });
const ids = fc.nat(2 ** 32 - 1);
const ms = fc.float({ noNaN: true, min: 0, max: 1e6 });
const requests = fc.array(
  fc.record({ id: ids, timeoutMs: ms, rows: fc.nat(1000), inputs: fc.array(tensors, { maxLength: 3 }) }),
);
const results = fc.array(
  fc.record({
    id: ids,
    servedMs: ms,
    result: fc.oneof(
      fc.record({ outputs: fc.array(tensors, { maxLength: 3 }) }),
      fc.record({ code: fc.string(), message: fc.string() }),
    ),
  }),
);

/** The frames in `bytes`, which come in pieces of these sizes. */
function read(bytes: Buffer, sizes: readonly number[]): [type: number, payload: Buffer][] {
  const frames: [number, Buffer][] = [];
  const reader = new FrameReader((type, payload) => frames.push([type, Buffer.from(payload)]));
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const size = sizes[i % sizes.length] as number;
    const piece = Buffer.from(bytes.subarray(at, at + size));
    reader.push(piece);
    piece.fill(0xff); // as a socket that reads into one buffer
    at += size;
  }
  return frames;
}

const sizes = fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1, maxLength: 20 });

describe('frames', () => {
  test('what is written is read, in whatever pieces it comes', () => {
    fc.assert(
      fc.property(requests, results, sizes, (asked, answered, pieces) => {
        const hello = { protocol: 2, version: 'v2', inputs: [], outputs: [] };
        const bytes = [encodeHello(hello), encodeRequests(asked), encodeResults(answered), encodeGoodbye()];
        const frames = read(Buffer.concat(bytes), pieces);
        expect(frames.map(([type]) => type)).toEqual([
          frameTypes.hello,
          frameTypes.requests,
          frameTypes.results,
          frameTypes.goodbye,
        ]);
        const [first, second, third] = frames.map(([, payload]) => payload) as [Buffer, Buffer, Buffer];
        expect(decodeHello(first)).toEqual(hello);
        expect(decodeRequests(second)).toEqual(asked);
        expect(decodeResults(third)).toEqual(answered);
      }),
    );
  });

  test.each([255, 256, 300])('%d tensors', (count) => {
    const inputs: Tensor[] = Array.from({ length: count }, (_, i) => ({
      datatype: 'FP32',
      shape: [1],
      data: Float32Array.of(i),
    }));
    const request = { id: 1, timeoutMs: 1, rows: 1, inputs };
    const [[, payload]] = read(encodeRequests([request]), [200]) as [[number, Buffer]];
    expect(decodeRequests(payload)).toEqual([request]);
  });

  test('what one run gives goes in frames of 16 MiB, or of one answer that is larger', () => {
    const outputs = (mib: number): Tensor[] => [
      { datatype: 'UINT8', shape: [mib * 2 ** 20], data: new Uint8Array(mib * 2 ** 20) },
    ];
    const given = [7, 7, 7, 20, 1].map((mib, id) => ({ id, servedMs: 1, result: { outputs: outputs(mib) } }));
    const ids = resultFrames(given).map((frame) => {
      const [[, payload]] = read(frame, [1_000_000]) as [[number, Buffer]];
      return decodeResults(payload).map(({ id }) => id);
    });
    expect(ids).toEqual([[0, 1], [2], [3], [4]]);
    expect(resultFrames([])).toEqual([]);
  });

  test('parts of larger arrays, at any alignment', () => {
    const data = Float64Array.from({ length: 10 }, (_, i) => i).subarray(3, 5);
    const request = { id: 1, timeoutMs: 1, rows: 1, inputs: [{ datatype: 'FP64', shape: [1, 2], data }] as Tensor[] };
    const [[, payload]] = read(encodeRequests([request]), [7]) as [[number, Buffer]];
    expect(decodeRequests(payload)[0]?.inputs[0]?.data).toEqual(Float64Array.from([3, 4]));
  });

  test('whatever bytes come: read, or a FrameError, and no memory is taken for what is only claimed', () => {
    const decoders = [decodeRequests, decodeResults, decodeHello];
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.constantFrom(...decoders), (bytes, decode) => {
        try {
          decode(Buffer.from(bytes));
        } catch (error) {
          expect(error).toBeInstanceOf(FrameError);
        }
      }),
      { numRuns: 2_000 },
    );
  });

  test('a frame that has lost its end, or has a byte changed: never anything but a FrameError', () => {
    fc.assert(
      fc.property(requests, fc.nat(), fc.nat(255), (asked, at, byte) => {
        const payload = encodeRequests(asked).subarray(5);
        const broken = Buffer.from(payload.subarray(0, payload.length - (at % 3)));
        if (broken.length > 0) broken[at % broken.length] = byte;
        try {
          decodeRequests(broken);
        } catch (error) {
          expect(error).toBeInstanceOf(FrameError);
        }
      }),
    );
  });

  test.each([[0], [2 ** 31], [0xffffffff]])(
    'a frame that says it has %d bytes is refused before they come',
    (length) => {
      const head = Buffer.alloc(4);
      head.writeUInt32LE(length);
      expect(() => new FrameReader(() => {}).push(head)).toThrow(FrameError);
    },
  );

  test('another version of the protocol is refused', () => {
    const payload = Buffer.from(JSON.stringify({ protocol: 1, version: 'v2', inputs: [], outputs: [] }));
    expect(() => decodeHello(payload)).toThrow('it speaks version 1 of the protocol, not 2');
  });
});
