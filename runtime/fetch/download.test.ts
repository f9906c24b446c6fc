import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { file, type Handler, Origin } from '../../test/support/origin.ts';
import { type FetchLimits, type FetchOptions, fetchModel } from './download.ts';

const bytes = randomBytes(300_000);
const other = randomBytes(300_000);
const digestOf = (of: Uint8Array) => createHash('sha256').update(of).digest('hex');
const sha256 = digestOf(bytes);

let folder: string;
let origin: Origin;
let notes: string[];
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'levada-fetch-'));
  origin = await Origin.start(file(bytes, '"one"'));
  notes = [];
});
afterEach(async () => {
  await origin[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

const target = () => join(folder, 'model.onnx');
const usual = { firstPauseMs: 1, maxPauseMs: 5, idleMs: 20_000 };
const fetched = (limits: Partial<FetchLimits> = {}, change: Partial<FetchOptions> = {}) =>
  fetchModel({
    uri: `${origin.url}/m.onnx`,
    file: target(),
    limits: { ...usual, ...limits },
    random: () => 0,
    note: (text) => notes.push(text),
    ...change,
  });
const there = () => readdir(folder);
/** The answers one after another; the last one again and again. */
const inTurn =
  (...handlers: Handler[]): Handler =>
  (req, res, count) =>
    handlers[Math.min(count, handlers.length) - 1]?.(req, res, count);
const status =
  (code: number, headers: Record<string, string> = {}): Handler =>
  (_, res) =>
    res.writeHead(code, headers).end('nothing');

describe('fetchModel', () => {
  it('writes the whole file, and nothing else', async () => {
    expect(await fetched({}, { sha256, resolvedSha256: sha256 })).toEqual({ sha256, bytes: 300_000, etag: '"one"' });
    expect(await readFile(target())).toEqual(bytes);
    expect(await there()).toEqual(['model.onnx']);
    expect(origin.asked).toMatchObject([{ path: '/m.onnx', headers: { 'accept-encoding': 'identity' } }]);
    expect(origin.asked[0]?.headers).not.toHaveProperty('authorization');
  });

  it('goes on where an answer was cut off', async () => {
    origin.answer(inTurn(file(bytes, '"one"', { cutAfter: 100_000 }), file(bytes, '"one"')));
    expect((await fetched()).sha256).toBe(sha256);
    const [first, second] = origin.asked;
    expect(first?.headers['range']).toBeUndefined();
    expect(second?.headers).toMatchObject({ range: expect.stringMatching(/^bytes=[1-9]\d*-$/), 'if-range': '"one"' });
    expect(await readFile(target())).toEqual(bytes);
    expect(notes).toHaveLength(1);
    expect(notes[0]).toMatch(/the connection was cut|the answer was cut off|bytes have come/);
  });

  it('begins anew when the file has changed meanwhile', async () => {
    origin.answer(inTurn(file(other, '"other"', { cutAfter: 100_000 }), file(bytes, '"one"')));
    expect((await fetched()).sha256).toBe(sha256);
    expect(origin.asked[1]?.headers['if-range']).toBe('"other"');
    expect(await readFile(target())).toEqual(bytes);
  });

  it.each([
    ['that has a weak ETag', 'W/"one"'],
    ['that has none', undefined],
  ])('begins anew with a file %s', async (_, etag) => {
    origin.answer(inTurn(file(bytes, etag, { cutAfter: 100_000 }), file(bytes, etag)));
    expect((await fetched()).sha256).toBe(sha256);
    expect(origin.asked.map(({ headers }) => headers['range'])).toEqual([undefined, undefined]);
  });

  it('asks once more for all of it when parts of two files were taken for one', async () => {
    const lies = file(bytes, '"one"');
    origin.answer(inTurn(file(other, '"one"', { cutAfter: 100_000 }), lies));
    expect((await fetched({}, { sha256 })).sha256).toBe(sha256);
    expect(origin.asked.map(({ headers }) => headers['range'] !== undefined)).toEqual([false, true, false]);
  });

  it.each([
    ['another part', { 'content-range': 'bytes 7-299999/300000' }],
    ['another file', { 'content-range': 'bytes 100000-299999/300000', etag: '"two"' }],
    ['no range', {}],
  ])('begins anew when the server answers with %s', async (_, headers) => {
    origin.answer(inTurn(file(bytes, '"one"', { cutAfter: 100_000 }), status(206, headers), file(bytes, '"one"')));
    expect((await fetched()).sha256).toBe(sha256);
    expect(origin.asked[2]?.headers['range']).toBeUndefined();
  });

  it('gives up when nothing more comes, and leaves nothing behind', async () => {
    origin.answer((_, res) => res.writeHead(200, { 'content-length': 300_000 }).write(bytes.subarray(0, 10)));
    await expect(fetched({ idleMs: 100, attempts: 3 })).rejects.toMatchObject({
      code: 'ArtifactUnavailable',
      message: `${origin.url}/m.onnx cannot be fetched: no more bytes in time`,
    });
    expect(await there()).toEqual([]);
  });

  it('gives up when no answer comes', async () => {
    origin.answer(() => {});
    await expect(fetched({ idleMs: 100, attempts: 2 })).rejects.toThrow('no answer in time');
    expect(origin.asked).toHaveLength(2);
  });

  it('gives up when all of it takes too long, though bytes come', async () => {
    origin.answer((_, res) => {
      res.writeHead(200, { 'content-length': 300_000 });
      const timer = setInterval(() => res.write('x'), 20);
      res.on('close', () => clearInterval(timer));
    });
    await expect(fetched({ totalMs: 500 })).rejects.toMatchObject({
      code: 'ArtifactUnavailable',
      message: expect.stringContaining('it takes too long'),
    });
  });

  it('ends at once when it is given up', async () => {
    const giveUp = new AbortController();
    origin.answer((_, res) => {
      res.writeHead(200, { 'content-length': 300_000 }).write('x');
      giveUp.abort(new Error('the unit has ended'));
    });
    await expect(fetched({}, { signal: giveUp.signal })).rejects.toThrow('the unit has ended');
    expect(await there()).toEqual([]);
  });

  it('says that a file is too large before it is read', async () => {
    origin.answer((_, res) => res.writeHead(200, { 'content-length': 1_001 }).flushHeaders());
    await expect(fetched({ maxBytes: 1_000 })).rejects.toMatchObject({
      code: 'ArtifactTooLarge',
      message: `${origin.url}/m.onnx has 1001 bytes; at most 1000 are loaded`,
    });
  });

  it('reads no more than allowed of a file that never ends', async () => {
    let sent = 0;
    origin.answer((_, res) => {
      const more = () => {
        while (!res.destroyed && res.write(bytes.subarray(0, 1_000))) sent += 1_000;
      };
      res.writeHead(200).on('drain', more);
      more();
    });
    await expect(fetched({ maxBytes: 100_000 })).rejects.toMatchObject({ code: 'ArtifactTooLarge' });
    expect(sent).toBeLessThan(20_000_000);
    expect(origin.asked).toHaveLength(1);
    expect(await there()).toEqual([]);
  });

  it('takes no less than the length that the server names', async () => {
    origin.answer((_, res) => {
      res.writeHead(200, { 'content-length': 300_000 }).write(bytes.subarray(0, 200_000), () => res.destroy());
    });
    await expect(fetched({ attempts: 2 })).rejects.toMatchObject({ code: 'ArtifactUnavailable' });
    expect(await there()).toEqual([]);
  });

  it.each([503, 500, 429, 408])('tries again after %i, and not before the server wants it', async (code) => {
    origin.answer(inTurn(status(code, { 'retry-after': '1' }), file(bytes, '"one"')));
    const start = performance.now();
    expect((await fetched({ maxPauseMs: 50 })).sha256).toBe(sha256);
    expect(performance.now() - start).toBeGreaterThanOrEqual(49);
  });

  it.each([
    [401, 'ArtifactDenied'],
    [403, 'ArtifactDenied'],
    [404, 'ArtifactNotFound'],
    [410, 'ArtifactNotFound'],
    [400, 'SourceInvalid'],
    [204, 'SourceInvalid'],
  ])('tries no more after %i', async (code, expected) => {
    origin.answer(status(code));
    const failure = { code: expected, message: expect.stringContaining(`the server answers ${code}`) };
    await expect(fetched()).rejects.toMatchObject(failure);
    expect(origin.asked).toHaveLength(1);
  });

  it('refuses what is compressed', async () => {
    origin.answer(status(200, { 'content-encoding': 'gzip' }));
    await expect(fetched()).rejects.toMatchObject({ code: 'SourceInvalid' });
  });

  it.each([
    ['sha256', 'DigestMismatch'],
    ['resolvedSha256', 'ArtifactChanged'],
  ])('refuses a file that %s does not name, and leaves the old one', async (field, code) => {
    await fetched();
    origin.answer(file(other, '"other"'));
    await expect(fetched({}, { [field]: sha256 })).rejects.toMatchObject({
      code,
      message: expect.stringContaining(digestOf(other)),
    });
    expect(await readFile(target())).toEqual(bytes);
    expect(await there()).toEqual(['model.onnx']);
  });

  it('is told that the file is still the one with an ETag', async () => {
    expect(await fetched({}, { unless: '"one"' })).toEqual({ bytes: 0 });
    expect((await fetched({}, { unless: '"zero"' })).sha256).toBe(sha256);
  });

  it('says what is wrong with a host, a port and an address that nobody calls', async () => {
    const once = (uri: string) => fetched({ attempts: 1, connectMs: 2_000 }, { uri });
    await expect(once('http://nowhere.invalid/m')).rejects.toThrow(/ENOTFOUND|EAI_AGAIN/);
    const { url } = origin;
    await origin[Symbol.asyncDispose]();
    await expect(once(`${url}/m`)).rejects.toThrow('ECONNREFUSED');
    await expect(once('http://169.254.169.254/latest')).rejects.toThrow('metadata addresses are never called');
    await expect(once('http://1.2.3.4.5/m')).rejects.toMatchObject({ code: 'SourceInvalid' });
  });
});

describe('fetchModel, credentials', () => {
  const secret = { name: 'models', values: { username: 'eve', password: 'p-4711' } };
  const basic = `Basic ${Buffer.from('eve:p-4711').toString('base64')}`;
  let elsewhere: Origin;
  beforeEach(async () => {
    elsewhere = await Origin.start(file(bytes, '"one"'));
  });
  afterEach(() => elsewhere[Symbol.asyncDispose]());

  it('go with a redirect of the same origin', async () => {
    origin.answer(inTurn(status(302, { location: '/other.onnx' }), file(bytes, '"one"')));
    expect((await fetched({}, { secret })).sha256).toBe(sha256);
    expect(origin.asked.map(({ path, headers }) => [path, headers['authorization']])).toEqual([
      ['/m.onnx', basic],
      ['/other.onnx', basic],
    ]);
  });

  it('go to no other origin, and not back with it', async () => {
    origin.answer(inTurn(status(307, { location: `${elsewhere.url}/x` }), file(bytes, '"one"')));
    elsewhere.answer(status(301, { location: `${origin.url}/back` }));
    expect((await fetched({}, { secret })).sha256).toBe(sha256);
    expect(elsewhere.asked[0]?.headers).not.toHaveProperty('authorization');
    expect(origin.asked.map(({ headers }) => headers['authorization'])).toEqual([basic, undefined]);
  });

  it('a token is a bearer', async () => {
    await fetched({}, { secret: { name: 'models', values: { token: 't-4711\n' } } });
    expect(origin.asked[0]?.headers['authorization']).toBe('Bearer t-4711');
  });

  it('are in no note and in no error, and neither is the query of a redirect', async () => {
    elsewhere.answer(status(503));
    origin.answer(status(302, { location: `${elsewhere.url}/x?X-Amz-Signature=s-4711` }));
    const error = await fetched({ attempts: 2 }, { secret }).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'ArtifactUnavailable' });
    expect(notes).toHaveLength(1);
    expect(`${notes} ${JSON.stringify(error)} ${String((error as Error).stack)}`).not.toMatch(/4711|Signature/);
  });

  it.each([
    ['in a circle', '/m.onnx', 'more than 5 redirects'],
    ['to a file', 'file:///etc/passwd', 'a redirect to file:'],
    ['to a password', 'http://a:b@127.0.0.1/m', 'user or password'],
    ['to nowhere', 'http://', 'leads nowhere'],
  ])('redirects %s are refused', async (_, location, detail) => {
    origin.answer(status(302, { location }));
    const failure = { code: 'SourceInvalid', message: expect.stringContaining(detail) };
    await expect(fetched({}, { secret })).rejects.toMatchObject(failure);
  });
});
