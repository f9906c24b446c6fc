import { stripVTControlCharacters } from 'node:util';
import { createLogUpdate } from 'log-update';
import { resourceKey } from '../../api/contract/names.ts';
import type { Resource, ResourceStatus } from '../../api/v1alpha1/resource.ts';
import { formatResources } from '../rows.ts';

/** Where `levada up` says things: a live table below the lines on a terminal, lines alone elsewhere. */
export interface Reporter {
  line(text: string): void;
  /** Called whenever a status was written. */
  status(resource: Resource): void;
  close(): void;
}

/** @param list what the table shows */
export function createReporter(stdout: NodeJS.WriteStream, list: () => readonly Resource[], now: () => Date): Reporter {
  return stdout.isTTY ? liveReporter(stdout, list, now) : plainReporter(stdout);
}

/** One line that drives no terminal: parts of it come from model files. */
function lineOf(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is replaced
  return `${stripVTControlCharacters(text).replace(/[\x00-\x08\x0a-\x1f\x7f-\x9f]/g, '\ufffd')}\n`;
}

function plainReporter(stdout: NodeJS.WriteStream): Reporter {
  const said = new Map<string, string>();
  const line = (text: string) => void stdout.write(lineOf(text));
  return {
    line,
    status(resource) {
      const key = resourceKey(resource);
      const text = sentence(resource);
      if (said.get(key) === text) return;
      said.set(key, text);
      line(text);
    },
    close() {},
  };
}

function liveReporter(stdout: NodeJS.WriteStream, list: () => readonly Resource[], now: () => Date): Reporter {
  const update = createLogUpdate(stdout);
  const draw = () => {
    update(`\n${formatResources(list(), false, now())}\n\nCtrl-C ends it.`);
  };
  const said = new Map<string, string>();
  const line = (text: string) => {
    update.clear();
    stdout.write(lineOf(text));
    draw();
  };
  const timer = setInterval(draw, 1_000); // ages grow
  return {
    line,
    status(resource) {
      const key = resourceKey(resource);
      const text = sentence(resource);
      if (said.get(key) === text) return draw();
      said.set(key, text);
      line(text);
    },
    close() {
      clearInterval(timer);
      // It shows what runs: nothing does.
      update.clear();
      update.done();
    },
  };
}

function sentence({ metadata, status }: Resource): string {
  const ready = status?.conditions.find(({ type }) => type === 'Ready');
  const urls = ready?.status === 'True' ? urlsOf(status).map((url) => ` ${url}`) : [];
  return `${metadata.name}: ${ready?.reason ?? 'Pending'}: ${ready?.message ?? ''}${urls.join('')}`;
}

/** Where a resource is reached. */
function urlsOf(status: ResourceStatus | undefined): string[] {
  if (!status) return [];
  if ('sources' in status) return status.sources.flatMap(({ url }) => url ?? []);
  return status.url === undefined ? [] : [status.url];
}

/** A line of a process's output. Its JSON logs become text; whatever else it prints is kept. */
export function formatLog(unit: string, line: string): string {
  let entry: Record<string, unknown>;
  try {
    entry = JSON.parse(line) as Record<string, unknown>;
  } catch {
    return `${unit} | ${line}`;
  }
  if (typeof entry !== 'object' || entry === null || typeof entry['msg'] !== 'string') return `${unit} | ${line}`;
  const { level, time: _time, msg, model: _model, version: _version, ...rest } = entry;
  const name = { 40: 'WARN ', 50: 'ERROR ', 60: 'FATAL ' }[Number(level)] ?? '';
  const fields = Object.entries(rest).map(
    ([key, value]) => `${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`,
  );
  return `${unit} | ${name}${msg}${fields.length > 0 ? ` ${fields.join(' ')}` : ''}`;
}
