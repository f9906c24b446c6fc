/**
 * Fetches the model of a unit, before its server starts: the init container of pods whose model is behind a URL.
 *
 *     node runtime/fetch/main.ts --config unit.json [--secret FOLDER] [--report FILE]
 *
 * The Secret is read from files, so that its values are in no environment and in no argument. Why it has failed goes to
 * the report as {code, message}: on a cluster that is the termination message, which the operator reads.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import pino from 'pino';
import type { ModelServerConfig } from '../../api/contract/model-server.ts';
import { errorCodeOf, LevadaError, messageOf } from '../../api/errors.ts';
import { type FetchSecret, secretKeys } from './credentials.ts';
import { fetchModel } from './download.ts';
import { isRight } from './right.ts';

const { values } = parseArgs({
  options: {
    config: { type: 'string', default: 'unit.json' },
    secret: { type: 'string' },
    report: { type: 'string' },
  },
});
const config = JSON.parse(await readFile(values.config, 'utf8')) as ModelServerConfig; // checked by who wrote it
const { model, version, path, source, sha256, resolvedSha256 } = config;
const log = pino(
  { base: { model, version }, level: process.env['LEVADA_LOG_LEVEL'] ?? 'info' },
  pino.destination({ sync: true }),
);

/** The values that may be wanted; a Secret that is not there is an empty folder. */
async function readSecret(name: string, folder: string): Promise<FetchSecret> {
  const found = await Promise.all(
    secretKeys.map((key) =>
      readFile(join(folder, key), 'utf8').then(
        (value) => [[key, value] as const],
        (error: NodeJS.ErrnoException) => {
          if (error.code === 'ENOENT') return [];
          throw new LevadaError('SecretInvalid', {
            found: `Secret ${name}`,
            detail: `${key} cannot be read: ${error.code}`,
          });
        },
      ),
    ),
  );
  return { name, values: Object.fromEntries(found.flat()) };
}

async function run(): Promise<void> {
  if (!source) throw new LevadaError('InternalError', { detail: 'the unit has no source' });
  const { uri, secret } = source;
  if (await isRight(path, { sha256, resolvedSha256 })) return log.info({ uri }, 'the model is there already');
  const start = performance.now();
  const fetched = await fetchModel({
    uri,
    file: path,
    sha256,
    resolvedSha256,
    secret: secret === undefined ? undefined : await readSecret(secret, values.secret ?? ''),
    note: (text) => log.warn({ uri }, text),
  });
  log.info({ uri, ...fetched, ms: Math.round(performance.now() - start) }, 'model fetched');
}

/** Characters of a message: as JSON it stays below the 4096 bytes that a termination message may have. */
const longestMessage = 1_000;

async function fail(error: unknown): Promise<void> {
  const failure = { code: errorCodeOf(error) ?? 'InternalError', message: messageOf(error).slice(0, longestMessage) };
  log.error({ uri: source?.uri, code: failure.code }, failure.message);
  process.exitCode = 1;
  if (values.report === undefined) return;
  await writeFile(values.report, JSON.stringify(failure)).catch((problem: unknown) => log.error(messageOf(problem)));
}

// As the first process of a container it ends by no signal that it does not handle.
for (const [signal, code] of [
  ['SIGTERM', 143],
  ['SIGINT', 130],
] as const)
  process.on(signal, () => process.exit(code));
await run().catch(fail);
