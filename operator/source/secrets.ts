import { isUtf8 } from 'node:buffer';
import * as z from 'zod';
import { dnsLabel, dnsSubdomain, namespacedName } from '../../api/contract/names.ts';
import { type Problem, problem } from '../../api/errors.ts';
import { formatPath, parsePath, valueAt } from '../../api/path.ts';
import { member, show } from '../../api/rules.ts';
import { readSecretFile } from './secret-file.ts';

/** Decoded values by key, by `namespace/name`. Nothing of them is ever shown. */
export type Secrets = ReadonlyMap<string, Readonly<Record<string, string>>>;

/** NAME, or NAMESPACE/NAME. */
export const secretNamePattern = /^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\/)?[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/;
/** As the API server allows them. */
export const secretKeyPattern = /^[-._a-zA-Z0-9]{1,253}$/;

const value = z
  .union([
    z.string(),
    z.strictObject({ env: z.string().min(1).describe('Environment variable that holds the value.') }),
    z.strictObject({ file: z.string().min(1).describe('File that holds the value, relative to this one.') }),
  ])
  .describe('The value: text, or where it is.');
const valueAllowed = 'text in quotes, { env: NAME } or { file: PATH }';

/** `secrets` of levada.local.yaml. */
export const localSecrets = z
  .record(z.string().regex(secretNamePattern), z.record(z.string().regex(secretKeyPattern), value))
  .default({})
  .describe('What a Secret holds, by its name (NAMESPACE/NAME outside of the namespace default).');

/** `problems` of a local file, with those of `secrets` in words that show no value. */
export function withoutSecrets(problems: readonly Problem[], document: unknown): Problem[] {
  // Parts of one value are one mistake.
  const told = new Set<string>();
  return problems.flatMap((one) => {
    const path = parsePath(one.path);
    const isName = path.length === 2 && !secretNamePattern.test(String(path[1]));
    const isKey = path.length === 3 && !secretKeyPattern.test(String(path[2]));
    if (path[0] !== 'secrets' || one.code === 'MissingField' || isName || isKey) return [one];
    const at = path.slice(0, 3);
    const where = formatPath(at);
    if (told.has(where)) return [];
    told.add(where);
    const allowed = at.length === 3 ? valueAllowed : 'a map';
    return [problem('InvalidType', where, { found: kindOf(valueAt(document, at)), allowed })];
  });
}

/**
 * Reads what `secrets` of a local file refer to. The names of variables and files are shown, and never what is in them.
 *
 * @param folder absolute path that files are relative to
 * @returns decoded values by key, by `namespace/name`; the files, absolute
 */
export function readLocalSecrets(
  found: z.output<typeof localSecrets>,
  folder: string,
  environment: NodeJS.ProcessEnv,
): { secrets: Record<string, Record<string, string>>; files: string[]; problems: Problem[] } {
  const problems: Problem[] = [];
  const files: string[] = [];
  const refuse = (path: string, detail: string) => problems.push(problem('LocalFileInvalid', path, { detail }));
  const read = (path: string, entry: z.output<typeof value>): string => {
    if (typeof entry === 'string') return entry;
    if ('env' in entry) {
      const text = environment[entry.env];
      if (text === undefined) refuse(path, `the environment variable ${entry.env} is not set`);
      return text ?? '';
    }
    const { file, text, failure } = readSecretFile(entry.file, folder);
    files.push(file);
    if (failure !== undefined) refuse(path, `${entry.file}: ${failure}`);
    return text ?? '';
  };
  const secrets = new Map<string, Record<string, string>>();
  for (const [name, keys] of Object.entries(found)) {
    const full = name.includes('/') ? name : namespacedName({ name });
    if (secrets.has(full))
      refuse(formatPath(['secrets', name]), `the Secret ${full} is here twice: keep one of the two`);
    const entries = Object.entries(keys).map(
      ([key, entry]) => [key, read(formatPath(['secrets', name, key]), entry)] as const,
    );
    secrets.set(full, Object.fromEntries(entries));
  }
  return { secrets: Object.fromEntries(secrets), files, problems };
}

export const isSecret = (document: unknown): boolean =>
  member(document, 'apiVersion') === 'v1' && member(document, 'kind') === 'Secret';

/** A Secret manifest, read. */
export interface ReadSecret {
  /** `namespace/name`; absent where the manifest has none. */
  readonly name?: string;
  readonly values: Readonly<Record<string, string>>;
  /** Keys whose values are bytes and no text: they are left out. */
  readonly binary: readonly string[];
  readonly problems: readonly Problem[];
}

/** Reads a Secret manifest as the API server does: `stringData` wins over `data`, which is base64. */
export function readSecret(document: unknown): ReadSecret {
  const problems: Problem[] = [];
  const name = nameOf(member(document, 'metadata'), problems);
  const values = new Map<string, string>();
  const binary = new Set<string>();
  for (const [key, found] of entriesOf(document, 'data', problems)) {
    const path = formatPath(['data', key]);
    const bytes = bytesOf(found);
    if (!bytes) problems.push(problem('InvalidValue', path, { found: kindOf(found), allowed: 'base64, with its =' }));
    const text = bytes && isUtf8(bytes) ? bytes.toString('utf8') : undefined;
    if (text !== undefined) values.set(key, text);
    else if (bytes) binary.add(key);
  }
  for (const [key, found] of entriesOf(document, 'stringData', problems)) {
    const text = found ?? '';
    if (typeof text === 'string') values.set(key, text);
    else {
      const path = formatPath(['stringData', key]);
      problems.push(problem('InvalidType', path, { found: kindOf(found), allowed: 'text: quote it' }));
    }
    binary.delete(key);
  }
  return { ...(name !== undefined && { name }), values: Object.fromEntries(values), binary: [...binary], problems };
}

function nameOf(metadata: unknown, problems: Problem[]): string | undefined {
  const [name, namespace] = [member(metadata, 'name'), member(metadata, 'namespace') ?? undefined];
  const before = problems.length;
  if (name === undefined || name === null) problems.push(problem('MissingField', 'metadata.name'));
  else if (!fits(name, dnsSubdomain, 253)) problems.push(wrongName('metadata.name', name));
  if (namespace !== undefined && !fits(namespace, dnsLabel, 63)) {
    problems.push(wrongName('metadata.namespace', namespace));
  }
  if (problems.length > before) return undefined;
  return namespacedName({ name: String(name), ...(namespace !== undefined && { namespace: String(namespace) }) });
}

const fits = (found: unknown, pattern: RegExp, most: number): boolean =>
  typeof found === 'string' && found.length <= most && pattern.test(found);

const wrongName = (path: string, found: unknown): Problem =>
  problem('InvalidValue', path, {
    found: typeof found === 'string' ? show(found) : kindOf(found),
    allowed: 'lower-case letters, digits and -, in words between dots',
  });

/** The entries of `data` or `stringData` whose keys can be. */
function entriesOf(document: unknown, section: 'data' | 'stringData', problems: Problem[]): Array<[string, unknown]> {
  const found = member(document, section) ?? {};
  if (typeof found !== 'object' || Array.isArray(found)) {
    problems.push(problem('InvalidType', section, { found: kindOf(found), allowed: 'a map' }));
    return [];
  }
  return Object.entries(found).filter(([key]) => {
    if (secretKeyPattern.test(key)) return true;
    const allowed = 'letters, digits, -, _ and ., at most 253';
    problems.push(problem('InvalidValue', formatPath([section, key]), { found: `the key ${show(key)}`, allowed }));
    return false;
  });
}

/** What base64 stands for, in the form that the API server takes: padded; lines may end in it. */
function bytesOf(found: unknown): Buffer | undefined {
  const text = typeof found === 'string' ? found.replace(/[\r\n]/g, '') : found === null ? '' : undefined;
  if (text === undefined || text.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(text)) return undefined;
  return Buffer.from(text, 'base64');
}

/** What a value is, in words that do not show it. */
function kindOf(found: unknown): string {
  if (found === undefined || found === null) return 'nothing';
  if (Array.isArray(found)) return 'a list';
  if (typeof found === 'object') return 'a map of something else';
  return { string: 'text', number: 'a number', boolean: 'a boolean' }[typeof found as string] ?? 'something else';
}
