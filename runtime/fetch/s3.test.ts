import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type S3Server, s3Python, startS3 } from '../../test/support/s3.ts';
import { irisModel } from '../../test/support/up.ts';
import { fetchModel } from './download.ts';

// Signatures are judged by AWS's own implementation, in a process of its own.
const keys = { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY' };
const odd = "a b+c&d'(é)*!~=:@,%.onnx";
const objects = {
  '/iris/v1/model.onnx': irisModel(2),
  [`/iris/${odd}`]: irisModel(2),
  '/iris/cut-1': irisModel(1),
};

describe('s3', () => {
  let folder: string;
  let python: string;
  const servers: S3Server[] = [];
  let first: Promise<S3Server> | undefined;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'levada-s3-'));
  });
  afterAll(async () => {
    for (const server of servers) await server[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  });
  async function start(context: { skip(note?: string): never }, sessionToken: string | null = null): Promise<S3Server> {
    python ??= await s3Python(context);
    const server = await startS3(python, { ...keys, region: 'eu-west-1', sessionToken, objects });
    servers.push(server);
    return server;
  }
  const usual = (context: { skip(note?: string): never }): Promise<S3Server> => {
    first ??= start(context);
    return first;
  };
  const fetched = ({ endpoint }: S3Server, key: string, values: Record<string, string> = {}) =>
    fetchModel({
      uri: `s3://iris/${key}`,
      secret: { name: 'models', values: { ...keys, region: 'eu-west-1', endpoint, ...values } },
      file: join(folder, 'model.onnx'),
      limits: { firstPauseMs: 1 },
      note: () => {},
    });
  const digestOf = async (path: string) =>
    createHash('sha256')
      .update(await readFile(path))
      .digest('hex');

  it.for(['v1/model.onnx', odd.replace('%', '%25'), encodeURI(odd).replace('%C3%A9', 'é')])(
    'gets s3://iris/%s',
    async (key, context) => {
      const server = await usual(context);
      expect((await fetched(server, key)).sha256).toBe(await digestOf(irisModel(2)));
      expect(server.asked.at(-1)).toMatchObject({ error: null });
    },
  );

  it('goes on where an answer was cut off, with a signature for that', async (context) => {
    const server = await usual(context);
    expect((await fetched(server, 'cut-1')).sha256).toBe(await digestOf(irisModel(1)));
    const [whole, rest] = server.asked.filter(({ path }) => path.endsWith('cut-1'));
    expect(whole).toMatchObject({ error: null, range: null });
    expect(rest).toMatchObject({ error: null, range: expect.stringMatching(/^bytes=[1-9]/) });
  });

  it('signs with the token of a session', async (context) => {
    const server = await start(context, 'a+session/token==');
    expect((await fetched(server, 'v1/model.onnx', { sessionToken: 'a+session/token==' })).bytes).toBeGreaterThan(0);
    await expect(fetched(server, 'v1/model.onnx')).rejects.toMatchObject({ code: 'ArtifactDenied' });
  });

  it.for([
    ['secretAccessKey', 'wrong-4711', 'ArtifactDenied', '403 (SignatureDoesNotMatch)'],
    ['accessKeyId', 'wrong-4711', 'ArtifactDenied', '403 (InvalidAccessKeyId)'],
    ['region', 'us-east-1', 'ArtifactDenied', '403 (AuthorizationHeaderMalformed)'],
    ['sessionToken', 'wrong-4711', 'ArtifactDenied', '403 (InvalidToken)'],
  ] as const)('says what S3 says of a wrong %s', async ([key, value, code, detail], context) => {
    const error = await fetched(await usual(context), 'v1/model.onnx', { [key]: value }).catch((thrown) => thrown);
    expect(error).toMatchObject({ code, message: expect.stringContaining(`the server answers ${detail}`) });
    expect(`${error.stack} ${JSON.stringify(error)}`).not.toContain('4711');
  });

  it('says that there is no such key', async (context) => {
    await expect(fetched(await usual(context), 'v2')).rejects.toMatchObject({
      code: 'ArtifactNotFound',
      message: 'no model at s3://iris/v2: the server answers 404 (NoSuchKey)',
    });
  });
});
