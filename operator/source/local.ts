import { isAbsolute, join, posix, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isDeepStrictEqual } from 'node:util';
import * as z from 'zod';
import { LevadaError, type Problem, problem } from '../../api/errors.ts';
import { formatPath } from '../../api/path.ts';
import { member, show } from '../../api/rules.ts';
import { checkSchema, type SourceOf } from './schema.ts';
import { localSecrets, readLocalSecrets, withoutSecrets } from './secrets.ts';

/** Name of the file beside resources that says what only a laptop needs. */
export const localFileName = 'levada.local.yaml';

/** A command that runs on this machine. */
export interface LocalCommand {
  /** The program and its arguments. `node` is the Node that runs Levada. */
  readonly command: readonly string[];
  /** Absolute path of the folder that it runs in. */
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
}

/** What stands in for an image: a command that serves HTTP on the port that is in its environment as `PORT`. */
export interface LocalService extends LocalCommand {
  /** Taken where the program of `command` is not there. */
  readonly fallback?: LocalCommand;
  /** What a person should know about it. */
  readonly note?: string;
}

/** What the local files say together. */
export interface LocalSettings {
  /** Absolute path on this machine, by the absolute path inside a pod that it stands for. */
  readonly mounts: Readonly<Record<string, string>>;
  /** By the host name that it answers to. */
  readonly services: Readonly<Record<string, LocalService>>;
  /** Origin (`http://host:port`) of what runs somewhere else, by the host name that it answers to. */
  readonly hosts: Readonly<Record<string, string>>;
  /** Decoded values, by `namespace/name` of the Secret that they stand for. */
  readonly secrets: Readonly<Record<string, Readonly<Record<string, string>>>>;
}

export const noLocalSettings: LocalSettings = { mounts: {}, services: {}, hosts: {}, secrets: {} };

/** `/`, or names between slashes; no `.` or `..`, and no slash at the end. */
const podPath = /^\/$|^(?:\/(?!\.{1,2}(?:\/|$))[^/]+)+$/;

/** What stands in a URL where a Service's name does. The last part begins with a letter: no IP address. */
const hostName = z
  .string()
  .max(253)
  .regex(/^([a-z0-9]([-a-z0-9]*[a-z0-9])?[.])*[a-z]([-a-z0-9]*[a-z0-9])?$/);

/** `PORT` is Levada's to set. */
const envName = z.string().regex(/^(?!PORT$)[A-Za-z_][A-Za-z0-9_]*$/);

/** http or https, without path, query, user and password. */
const originPattern = /^https?:\/\/[^/?#@\s\\]+\/?$/;

const commandFields = {
  command: z
    .array(z.string())
    .min(1)
    .describe('Program and arguments, one an entry; no shell reads them. `node` is the Node that runs Levada.'),
  cwd: z
    .string()
    .min(1)
    .optional()
    .describe('Folder that it runs in, relative to this file. Default: that of this file.'),
  env: z
    .record(envName, z.string())
    .optional()
    .describe('Environment variables beside PORT, PATH, HOME and the like. Others are not passed on.'),
};

const localService = z
  .strictObject({
    ...commandFields,
    fallback: z
      .strictObject(commandFields)
      .optional()
      .describe('Taken where the program of `command` is not installed, or ends three times before it listens.'),
    note: z.string().max(256).optional().describe('Said when it is started.'),
  })
  .describe('A command that serves HTTP on 127.0.0.1, on the port in its environment variable PORT.');

export const localFile = z
  .strictObject({
    mounts: z
      .record(z.string().regex(podPath), z.string().min(1))
      .default({})
      .describe('Folder or file on this machine, relative to this file, by the path inside the pod.'),
    services: z
      .record(hostName, localService)
      .default({})
      .describe('What stands in for an image, by host name. That of a `container` step is PIPELINE-STEP.'),
    hosts: z
      .record(hostName, z.string().meta({ pattern: originPattern.source }))
      .default({})
      .describe('Where else a host is: http://HOST:PORT or https://HOST:PORT, by host name.'),
    secrets: localSecrets,
  })
  .describe('What only a laptop needs.');

/**
 * The settings of one local file, with the paths made absolute.
 *
 * @param environment what `{ env: NAME }` refers to
 * @returns beside them the files that values of Secrets are in, absolute
 */
export function parseLocal(
  value: unknown,
  folder: string,
  sourceOf: SourceOf,
  environment: NodeJS.ProcessEnv = process.env,
): { local?: LocalSettings; problems: Problem[]; files: string[] } {
  const { data, problems } = checkSchema(localFile, value, sourceOf);
  const secrets = readLocalSecrets(data?.secrets ?? {}, folder, environment);
  const { files } = secrets;
  const all = [...withoutSecrets(problems, value), ...checkPrograms(data), ...checkHosts(value), ...secrets.problems];
  if (!data || all.length > 0) return { problems: all, files };
  const mounts = Object.entries(data.mounts).map(([pod, here]) => [pod, resolve(folder, here)] as const);
  const services = Object.entries(data.services).map(([name, service]) => [name, serviceOf(service, folder)] as const);
  const hosts = Object.entries(data.hosts).map(([name, url]) => [name, new URL(url).origin] as const);
  return {
    local: {
      mounts: Object.fromEntries(mounts),
      services: Object.fromEntries(services),
      hosts: Object.fromEntries(hosts),
      secrets: secrets.secrets,
    },
    problems: [],
    files,
  };
}

function serviceOf({ fallback, note, ...command }: z.output<typeof localService>, folder: string): LocalService {
  return {
    ...commandOf(command, folder),
    ...(fallback && { fallback: commandOf(fallback, folder) }),
    ...(note !== undefined && { note }),
  };
}

const commandOf = (
  { command, cwd, env }: Pick<z.output<typeof localService>, 'command' | 'cwd' | 'env'>,
  folder: string,
): LocalCommand => ({ command, cwd: resolve(folder, cwd ?? ''), env: env ?? {} });

function checkPrograms(data: z.output<typeof localFile> | undefined): Problem[] {
  return Object.entries(data?.services ?? {}).flatMap(([name, service]) =>
    [service, ...(service.fallback ? [service.fallback] : [])].flatMap((entry) => {
      if (entry.command[0] !== '') return [];
      const path = ['services', name, ...(entry === service ? [] : ['fallback']), 'command', 0];
      return [problem('InvalidValue', formatPath(path), { found: '""', allowed: 'a program' })];
    }),
  );
}

/** What the schema cannot say of `hosts`: an address is not shown when it may hold a password. */
function checkHosts(value: unknown): Problem[] {
  return Object.entries(member(value, 'hosts') ?? {}).flatMap(([name, found]) => {
    const path = formatPath(['hosts', name]);
    if (Object.hasOwn(Object(member(value, 'services')), name)) {
      return [problem('LocalFileInvalid', path, { detail: `${name} is one of services too: keep one of the two` })];
    }
    if (typeof found !== 'string' || (originPattern.test(found) && URL.canParse(found))) return [];
    const allowed = 'http://HOST:PORT or https://HOST:PORT, without user, password and path';
    return [problem('InvalidValue', path, { found: show(found.replace(/^.*@/s, '…@')), allowed })];
  });
}

/** `settings` and `more` together; what they say in two ways is a problem of `more`. */
export function mergeLocal(
  settings: LocalSettings,
  more: LocalSettings,
): { local: LocalSettings; problems: Problem[] } {
  const differ = <T>(section: keyof LocalSettings, name: string, here: T, other: T | undefined, detail: string) =>
    other === undefined || isDeepStrictEqual(other, here)
      ? []
      : [problem('LocalFileInvalid', formatPath([section, name]), { detail })];
  const elsewhere = `by another ${localFileName}`;
  const problems = [
    ...Object.entries(more.mounts).flatMap(([pod, here]) => {
      const other = settings.mounts[pod];
      return differ('mounts', pod, here, other, `${pod} is mounted from ${here} here, and from ${other} ${elsewhere}`);
    }),
    ...Object.entries(more.services).flatMap(([name, here]) => {
      const other = own<unknown>(settings.services, name) ?? own(settings.hosts, name);
      return differ('services', name, here, other, `${name} is described in another way ${elsewhere}`);
    }),
    ...Object.entries(more.hosts).flatMap(([name, here]) => {
      const other = own<unknown>(settings.services, name) ?? own(settings.hosts, name);
      return differ('hosts', name, here, other, `${name} is described in another way ${elsewhere}`);
    }),
    ...Object.entries(more.secrets).flatMap(([name, here]) => {
      const other = own<unknown>(settings.secrets, name);
      return differ('secrets', name, here, other, `${name} has other values ${elsewhere}`);
    }),
  ];
  // A name that one file has in services and another in hosts stays what it was.
  const others = { services: without(more.services, settings.hosts), hosts: without(more.hosts, settings.services) };
  return {
    local: {
      mounts: { ...more.mounts, ...settings.mounts },
      services: { ...others.services, ...settings.services },
      hosts: { ...others.hosts, ...settings.hosts },
      secrets: { ...more.secrets, ...settings.secrets },
    },
    problems,
  };
}

/** A host may be called `constructor`, which every object has. */
const own = <T>(all: Readonly<Record<string, T>>, name: string): T | undefined =>
  Object.hasOwn(all, name) ? all[name] : undefined;

const without = <T>(all: Readonly<Record<string, T>>, names: object): Record<string, T> =>
  Object.fromEntries(Object.entries(all).filter(([name]) => !Object.hasOwn(names, name)));

/**
 * Names of `services` and `hosts` that a resource has already: its own Service would never be called.
 *
 * @param makes the resource that makes a Service, by the name of the Service
 */
export function checkLocalNames(local: LocalSettings, makes: ReadonlyMap<string, string>): Problem[] {
  return (['services', 'hosts'] as const).flatMap((section) =>
    Object.keys(local[section]).flatMap((name) => {
      const owner = makes.get(name);
      if (owner === undefined) return [];
      const detail = `${owner} makes a Service ${name}: choose another name`;
      return [problem('LocalFileInvalid', formatPath([section, name]), { detail })];
    }),
  );
}

/**
 * Where the file of a `file:` URI is on this machine: the mount with the most path segments in common decides. A path
 * that no mount covers is taken as it is.
 */
export function resolveMount(uri: string, local: Pick<LocalSettings, 'mounts'>): string {
  return mountedPath(pathInPod(uri), local);
}

/** As {@link resolveMount}, of a path that is absolute inside the pod. */
export function mountedPath(path: string, local: Pick<LocalSettings, 'mounts'>): string {
  const mount = Object.keys(local.mounts)
    .filter((pod) => pod === '/' || path === pod || path.startsWith(`${pod}/`))
    .reduce((longest, pod) => (pod.length > longest.length ? pod : longest), '');
  const here = local.mounts[mount];
  return here === undefined ? path : join(here, path.slice(mount === '/' ? 0 : mount.length));
}

/** The path of a `file:` URI: decoded, and without `.`, `..` and empty segments. */
function pathInPod(uri: string): string {
  const allowed = 'file:///PATH, with %2F, %00 and incomplete % sequences left out';
  let path: string;
  try {
    path = posix.resolve(fileURLToPath(uri, { windows: false }));
  } catch (cause) {
    throw new LevadaError('InvalidValue', { found: show(uri), allowed }, { cause });
  }
  if (path.includes('\0') || !isAbsolute(path)) throw new LevadaError('InvalidValue', { found: show(uri), allowed });
  return path;
}
