import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { file, Origin } from '../../../test/support/origin.ts';
import { FetchedModels } from './fetched.ts';

const digestOf = (bytes: string) => createHash('sha256').update(bytes).digest('hex');
const [one, two] = ['the first model', 'the second model'];

describe('FetchedModels', () => {
  let folder: string;
  let origin: Origin;
  let secrets: Record<string, Record<string, string>>;
  const serve = (text: string, etag: string | undefined) => origin.answer(file(Buffer.from(text), etag));
  /** As a new run of `levada up` has it. */
  const get = (change: object = {}, namespace = 'default') =>
    new FetchedModels({
      folder,
      secret: (name) => secrets[name],
      secretNames: () => Object.keys(secrets),
      limits: { firstPauseMs: 1, attempts: 1 },
    }).get(namespace, { source: { uri: `${origin.url}/m` }, ...change }, new AbortController().signal, () => {});
  const pathOf = (text: string) => join(folder, digestOf(text), 'model.onnx');
  beforeEach(async () => {
    folder = await realpath(await mkdtemp(join(tmpdir(), 'levada-models-')));
    secrets = {};
    origin = await Origin.start(file(Buffer.from(one), '"1"'));
  });
  afterEach(async () => {
    await origin[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  });

  it('keeps a model by its digest, and asks nobody for one that it has', async () => {
    expect(await get()).toBe(pathOf(one));
    expect(await readFile(pathOf(one), 'utf8')).toBe(one);
    expect(await get({ resolvedSha256: digestOf(one) })).toBe(pathOf(one));
    expect(await get({ sha256: digestOf(one) })).toBe(pathOf(one));
    expect(origin.asked).toHaveLength(1);
    expect((await readdir(folder)).filter((name) => name.startsWith('incoming'))).toEqual([]);
  });

  it('asks whether it is still the same where no digest is known', async () => {
    await get();
    expect(await get()).toBe(pathOf(one));
    expect(origin.asked.map(({ headers }) => headers['if-none-match'])).toEqual([undefined, '"1"']);
    serve(two, '"2"');
    expect(await get()).toBe(pathOf(two));
    // What was resolved is there all the same.
    expect(await get({ resolvedSha256: digestOf(one) })).toBe(pathOf(one));
  });

  it('fetches anew what has no ETag, and what is broken here', async () => {
    serve(one, undefined);
    await get();
    serve(two, '"2"');
    expect(await get()).toBe(pathOf(two));
    await writeFile(pathOf(two), 'broken');
    expect(await get()).toBe(pathOf(two));
    expect(await readFile(pathOf(two), 'utf8')).toBe(two);
    await writeFile(pathOf(two), 'broken');
    expect(await get({ resolvedSha256: digestOf(two) })).toBe(pathOf(two));
    expect(await readFile(pathOf(two), 'utf8')).toBe(two);
  });

  it('refuses another model than the one that was resolved', async () => {
    await expect(get({ resolvedSha256: digestOf(two) })).rejects.toMatchObject({ code: 'ArtifactChanged' });
    await expect(get({ sha256: digestOf(two) })).rejects.toMatchObject({ code: 'DigestMismatch' });
    expect(await readdir(folder)).toEqual([]);
  });

  it('takes the Secret of the namespace', async () => {
    const source = { uri: `${origin.url}/m`, secret: 'models' };
    secrets = { 'default/models': { token: 'x' } };
    await expect(get({ source }, 'team')).rejects.toMatchObject({
      code: 'SecretNotFound',
      message: 'no Secret team/models; allowed: default/models',
    });
    secrets['team/models'] = { token: 't' };
    await get({ source }, 'team');
    expect(origin.asked.map(({ headers }) => headers['authorization'])).toEqual(['Bearer t']);
  });
});
