import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import * as z from 'zod';
import { namespacedName } from '../../api/contract/names.ts';
import { messageOf, type Problem, problem } from '../../api/errors.ts';
import { formatPath } from '../../api/path.ts';
import { member } from '../../api/rules.ts';

/** Decoded values by key, by `namespace/name`. Nothing of them is ever shown. */
export type Secrets = ReadonlyMap<string, Readonly<Record<string, string>>>;

const value = z
  .union([
    z.string(),
    z.strictObject({ env: z.string().min(1).describe('Environment variable that holds the value.') }),
    z.strictObject({ file: z.string().min(1).describe('File that holds the value, relative to this one.') }),
  ])
  .describe('The value: text, or where it is.');

/** `secrets` of levada.local.yaml. */
export const localSecrets = z
  .record(
    z.string().regex(/^([a-z0-9]([-a-z0-9]*[a-z0-9])?\/)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/),
    z.record(z.string().min(1).max(253), value),
  )
  .default({})
  .describe('What a Secret holds, by its name (NAMESPACE/NAME outside of the namespace default).');

/** Reads what the local file refers to. The names of variables and files are shown, and never what is in them. */
export function readLocalSecrets(
  found: z.output<typeof localSecrets>,
  folder: string,
  environment: NodeJS.ProcessEnv,
): { secrets: Record<string, Record<string, string>>; files: string[]; problems: Problem[] } {
  const problems: Problem[] = [];
  const files: string[] = [];
  const read = (path: string, entry: z.output<typeof value>): string => {
    if (typeof entry === 'string') return entry;
    if ('env' in entry) {
      const text = environment[entry.env];
      if (text === undefined) {
        problems.push(
          problem('LocalFileInvalid', path, { detail: `the environment variable ${entry.env} is not set` }),
        );
      }
      return text ?? '';
    }
    const file = resolve(folder, entry.file);
    files.push(file);
    try {
      return readFileSync(file, 'utf8');
    } catch (error) {
      problems.push(problem('FileNotFound', path, { path: entry.file, detail: messageOf(error) }));
      return '';
    }
  };
  const secrets = Object.entries(found).map(([name, keys]) => {
    const values = Object.entries(keys).map(
      ([key, entry]) => [key, read(formatPath(['secrets', name, key]), entry)] as const,
    );
    return [name.includes('/') ? name : `default/${name}`, Object.fromEntries(values)] as const;
  });
  return { secrets: Object.fromEntries(secrets), files, problems };
}

export const isSecret = (document: unknown): boolean =>
  member(document, 'apiVersion') === 'v1' && member(document, 'kind') === 'Secret';

/** A Secret manifest as the API server reads it: `stringData` wins over `data`, which is base64. */
export function readSecret(document: unknown): {
  name: string;
  values: Record<string, string>;
  problems: Problem[];
} {
  const metadata = member(document, 'metadata');
  const [name, namespace] = [member(metadata, 'name'), member(metadata, 'namespace')];
  const problems: Problem[] = [];
  if (typeof name !== 'string') {
    problems.push(problem('MissingField', 'metadata.name', { allowed: 'the name of the Secret' }));
  }
  const values: Record<string, string> = {};
  for (const section of ['data', 'stringData'] as const) {
    for (const [key, text] of Object.entries(member(document, section) ?? {})) {
      const decoded = section === 'data' ? decode(text) : typeof text === 'string' ? text : undefined;
      if (decoded !== undefined) values[key] = decoded;
      else {
        const allowed = section === 'data' ? 'base64' : 'text';
        // Never what was found: it is a secret.
        problems.push(problem('InvalidValue', formatPath([section, key]), { found: 'something else', allowed }));
      }
    }
  }
  const own = typeof namespace === 'string' ? { namespace } : {};
  return { name: namespacedName({ ...own, name: String(name) }), values, problems };
}

function decode(text: unknown): string | undefined {
  if (typeof text !== 'string') return undefined;
  const compact = text.replace(/\s/g, '');
  const bytes = Buffer.from(compact, 'base64');
  return bytes.toString('base64') === compact ? bytes.toString('utf8') : undefined;
}
