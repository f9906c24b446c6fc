import { open, readdir, stat } from 'node:fs/promises';
import { basename, dirname, extname, join, relative, resolve } from 'node:path';
import { type Problem, problem } from '../../api/errors.ts';
import { member } from '../../api/rules.ts';
import type { Resource } from '../../api/v1alpha1/resource.ts';
import {
  checkLocalNames,
  type LocalSettings,
  localFileName,
  mergeLocal,
  noLocalSettings,
  parseLocal,
} from './local.ts';
import { checkSet, isForeign, parseResource, servicesOf } from './parse.ts';
import { reasonOf } from './reason.ts';
import { isSecret, readSecret, type Secrets } from './secrets.ts';
import { type Document, type Position, readYaml } from './yaml.ts';

/** A problem, with its place. Line and column count from 1; 0 is the file itself. */
export interface FileProblem extends Problem, Position {
  /** Relative to the working directory. */
  readonly file: string;
}

interface LoadedResource {
  readonly resource: Resource;
  readonly file: string;
  readonly line: number;
  /** Where in the file a problem of the resource is. */
  readonly locate: (problem: Pick<Problem, 'code' | 'path'>) => Position;
}

/** What PATHs on a command line stand for. */
export interface Loaded {
  readonly resources: readonly LoadedResource[];
  readonly local: LocalSettings;
  readonly problems: readonly FileProblem[];
  /** Decoded values of manifests and of local files, which win. */
  readonly secrets: Secrets;
  /** What was left out, a line each. */
  readonly notes: readonly string[];
  /** What to watch, absolute: the files that were read, or could not be, and the folders that were named. */
  readonly files: readonly string[];
}

/** Bytes of a file that are read at most. */
const maxBytes = 2 * 1024 * 1024;
const extensions = new Set(['.yaml', '.yml', '.json']);

interface Loading {
  readonly found: Array<LoadedResource & { readonly document: Document }>;
  readonly problems: FileProblem[];
  readonly notes: string[];
  /** Absolute paths, so that a file that is named twice is read once. */
  readonly files: Set<string>;
  /** Absolute paths of files that values of Secrets are in. */
  readonly valueFiles: Set<string>;
  readonly secrets: Map<string, { values: Readonly<Record<string, string>>; file: string }>;
  local: LocalSettings;
  readonly locals: Array<{ local: LocalSettings; file: string; document: Document }>;
}

/** Loads files and folders as `kubectl apply -f` does, and what `levada.local.yaml` beside each of them says. */
export async function loadPaths(paths: readonly string[]): Promise<Loaded> {
  const loading: Loading = {
    found: [],
    problems: [],
    notes: [],
    files: new Set(),
    valueFiles: new Set(),
    secrets: new Map(),
    local: noLocalSettings,
    locals: [],
  };
  for (const path of paths) await loadPath(resolve(path), loading);
  for (const { resource, problem: mistake } of checkSet(loading.found.map((entry) => entry.resource))) {
    const entry = loading.found.find((candidate) => candidate.resource === resource);
    if (entry) loading.problems.push({ ...mistake, file: entry.file, ...entry.document.locate(mistake) });
  }
  loading.problems.push(...localNameProblems(loading));
  if (loading.found.length === 0 && loading.problems.length === 0) {
    const nothing = (path: string) => fileProblem(resolve(path), 'holds no levada.dev resource');
    loading.problems.push(...paths.map(nothing));
  }
  const { local, notes } = loading;
  const files = [...new Set([...loading.files, ...loading.valueFiles])];
  const resources = loading.found.map(({ resource, file, line, locate }) => ({ resource, file, line, locate }));
  const secrets: Secrets = new Map([
    ...[...loading.secrets].map(([name, { values }]) => [name, values] as const),
    // A laptop's own values stand in for those of a cluster.
    ...Object.entries(local.secrets),
  ]);
  return { resources, local, secrets, problems: inOrder(loading.problems, files.map(shown)), notes, files };
}

/** A `container` step's name is there to be stood in for; what else has a Service answers for itself. */
function localNameProblems({ found, locals }: Loading): FileProblem[] {
  const made = found.flatMap(({ resource }) =>
    servicesOf(resource)
      .filter(({ path }) => !path.startsWith('spec.steps'))
      .map(({ service }) => [service, `${resource.kind} ${resource.metadata.name}`] as const),
  );
  return locals.flatMap(({ local, file, document }) =>
    checkLocalNames(local, new Map(made)).map((mistake) => ({ ...mistake, file, ...document.locate(mistake) })),
  );
}

/** By file as they were read, then by place; what has no place comes first. */
function inOrder(problems: readonly FileProblem[], files: readonly string[]): FileProblem[] {
  const ranks = new Map(files.map((file, index) => [file, index]));
  const rank = ({ file }: FileProblem) => ranks.get(file) ?? -1;
  return problems.toSorted((a, b) => rank(a) - rank(b) || a.line - b.line || a.column - b.column);
}

async function loadPath(path: string, loading: Loading): Promise<void> {
  let isFolder: boolean;
  let names: string[];
  try {
    isFolder = (await stat(path)).isDirectory();
    names = isFolder ? (await readdir(path)).sort() : [basename(path)];
  } catch (error) {
    loading.problems.push(fileProblem(path, reasonOf(error)));
    return;
  }
  const folder = isFolder ? path : dirname(path);
  if (isFolder) loading.files.add(path);
  await loadLocal(join(folder, localFileName), loading);
  const resources = names.filter((name) => name !== localFileName && (!isFolder || extensions.has(extname(name))));
  if (isFolder && resources.length === 0) {
    loading.problems.push(fileProblem(path, 'a folder without *.yaml, *.yml or *.json'));
  }
  for (const name of resources) await loadFile(join(folder, name), loading);
}

async function loadFile(path: string, loading: Loading): Promise<void> {
  if (loading.files.has(path)) return;
  const documents = await readDocuments(path, loading);
  const file = shown(path);
  for (const document of documents) {
    const { value } = document;
    if (isSecret(value)) {
      takeSecret(document, file, loading);
      continue;
    }
    if (isForeign(value)) {
      const name = member(member(value, 'metadata'), 'name');
      const what = [member(value, 'apiVersion'), member(value, 'kind'), name].filter(
        (part) => typeof part === 'string',
      );
      loading.notes.push(`${file}: ignored: ${what.join(' ')} (not a levada.dev kind)`);
      continue;
    }
    const { resource, problems } = parseResource(value, document.sourceOf);
    loading.problems.push(...problems.map((mistake) => ({ ...mistake, file, ...document.locate(mistake) })));
    const { line } = document.locate({ code: 'MissingField', path: '' });
    if (resource) loading.found.push({ resource, file, line, locate: (mistake) => document.locate(mistake), document });
  }
}

function takeSecret(document: Document, file: string, loading: Loading): void {
  const { name, values, binary, problems } = readSecret(document.value);
  const all = [...problems];
  if (name !== undefined) {
    const other = loading.secrets.get(name);
    if (other) all.push(problem('DuplicateName', 'metadata.name', { found: `Secret ${name} (also in ${other.file})` }));
    else loading.secrets.set(name, { values, file });
    for (const key of binary) loading.notes.push(`${file}: ignored: ${key} of the Secret ${name}, which is not text`);
  }
  loading.problems.push(...all.map((one) => ({ ...one, file, ...document.locate(one) })));
}

async function loadLocal(path: string, loading: Loading): Promise<void> {
  if (loading.files.has(path) || !(await exists(path))) return;
  const file = shown(path);
  for (const document of await readDocuments(path, loading)) {
    const { local, problems, files } = parseLocal(document.value, dirname(path), document.sourceOf);
    for (const one of files) loading.valueFiles.add(one);
    const merged = mergeLocal(loading.local, local ?? noLocalSettings);
    loading.local = merged.local;
    if (local) loading.locals.push({ local, file, document });
    const all = [...problems, ...merged.problems];
    loading.problems.push(...all.map((mistake) => ({ ...mistake, file, ...document.locate(mistake) })));
  }
}

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );

/** The documents of a file; what is wrong with the file goes to `loading`. */
async function readDocuments(path: string, loading: Loading): Promise<Document[]> {
  loading.files.add(path);
  const file = shown(path);
  const refuse = (mistake: Problem) => {
    loading.problems.push({ ...mistake, file, line: 0, column: 0 });
    return [];
  };
  let bytes: Uint8Array;
  try {
    bytes = await readAtMost(path, maxBytes + 1);
  } catch (error) {
    return refuse(fileProblem(path, reasonOf(error)));
  }
  if (bytes.length > maxBytes) {
    return refuse(problem('DocumentTooLarge', '', { size: (await stat(path)).size, limit: maxBytes }));
  }
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    return refuse(problem('YamlSyntax', '', { detail: 'the file is not UTF-8' }));
  }
  const { documents, problems } = readYaml(text);
  loading.problems.push(...problems.map((mistake) => ({ ...mistake, file })));
  return documents;
}

/** The beginning of a file: what has the size of nothing, as a pipe, or grows meanwhile, is bounded too. */
async function readAtMost(path: string, limit: number): Promise<Uint8Array> {
  await using file = await open(path);
  const buffer = new Uint8Array(limit);
  let length = 0;
  while (length < limit) {
    const { bytesRead } = await file.read(buffer, length);
    if (bytesRead === 0) break;
    length += bytesRead;
  }
  return buffer.subarray(0, length);
}

function fileProblem(path: string, detail: string): FileProblem {
  const file = shown(path);
  return { ...problem('FileNotFound', '', { path: file, detail }), file, line: 0, column: 0 };
}

const shown = (path: string): string => relative(process.cwd(), path) || '.';
