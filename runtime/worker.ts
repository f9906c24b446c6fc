/**
 * A process of consumers: the steps of one `group`, or one step. Started by `levada up`, which makes the queues and says
 * over the IPC channel what to run; credentials never stand in argv or environment.
 */
import { isDeepStrictEqual } from 'node:util';
import type { FromWorker, NameTable, ToWorker } from '../api/contract/pipeline-worker.ts';
import type { Placement } from '../api/contract/placement.ts';
import { messageOf } from '../api/errors.ts';
import type { RabbitSettings } from '../brokers/rabbitmq/settings.ts';
import { startAdmin } from './admin.ts';
import { resolveHost } from './net/hosts.ts';
import type { End } from './pipeline/ends.ts';
import { PipelineUnit } from './pipeline/unit.ts';

type Run = Extract<ToWorker<RabbitSettings, Placement>, { type: 'run' }>;

const drainMs = 30_000;
/** Between two looks at what has changed. */
const tellEveryMs = 100;

const tell = (message: FromWorker<End>) => {
  if (process.connected) process.send?.(message);
};
const log = (part: string, text: string, error?: unknown) =>
  tell({ type: 'log', part, text: error === undefined ? text : `${text}: ${messageOf(error)}` });

let unit: PipelineUnit | undefined;
let names: NameTable = { local: {}, services: {} };
let tellEnds = false;
let told: unknown;

const own = <T>(all: Readonly<Record<string, T>>, name: string): T | undefined =>
  Object.hasOwn(all, name) ? all[name] : undefined;

function run({ settings, topology, placement, consumers, ...said }: Run): void {
  ({ names, tellEnds } = said);
  const parts = { topology, placement, consumers, sources: [] };
  if (unit) unit.apply(parts);
  else unit = start(settings, parts);
}

function start(settings: RabbitSettings, parts: ConstructorParameters<typeof PipelineUnit>[0]): PipelineUnit {
  const started = new PipelineUnit(parts, {
    settings,
    name: `levada ${parts.topology.pipeline} ${process.pid}`,
    resolve: (url, namespace) =>
      resolveHost(url, namespace, {
        local: (host) => own(names.local, host),
        service: (other, service) => own(own(names.services, other) ?? {}, service),
      }),
    listen: () => ({ host: '127.0.0.1', port: 0 }),
    missing: () => tell({ type: 'missing' }),
    ended: (end) => {
      if (tellEnds) tell({ type: 'end', end });
    },
    log,
    drainMs,
  });
  setInterval(() => tellState(started), tellEveryMs).unref();
  const status = () => ({ ...started.status, draining: started.draining });
  startAdmin({ host: '127.0.0.1', port: 0, metrics: started.metrics, status }).then(
    (port) => tell({ type: 'admin', port }),
    (error: unknown) => log('worker', 'nobody can ask it for metrics', error),
  );
  return started;
}

function tellState({ consumers }: PipelineUnit): void {
  if (isDeepStrictEqual(consumers, told)) return;
  told = consumers;
  tell({ type: 'state', consumers });
}

async function drain(): Promise<void> {
  if (unit?.draining) return;
  await unit?.drain().catch((error: unknown) => log('worker', 'the drain has failed', error));
  if (unit) tellState(unit);
  process.exit(0);
}

process.on('message', (message: ToWorker<RabbitSettings, Placement>) => {
  if (message.type === 'drain') void drain();
  else if (message.type === 'names') ({ names } = message);
  else if (message.type === 'placement') unit?.place(message.placement);
  else run(message);
});
process.on('disconnect', () => void drain());
process.on('SIGTERM', () => void drain());
// Ctrl-C reaches the whole process group; `levada up` says what is to happen.
process.on('SIGINT', () => {});
