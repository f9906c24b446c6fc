/** A process that serves one version of one model, from its start to its end. */
import { hostname } from 'node:os';
import { setTimeout as pause } from 'node:timers/promises';
import pino, { type Logger } from 'pino';
import type {
  FromModelServer,
  ModelServerConfig,
  ModelServerReport,
  ToModelServer,
} from '../../api/contract/model-server.ts';
import { errorCodeOf, errors, messageOf } from '../../api/errors.ts';
import { startAdmin } from '../admin.ts';
import { RoutingCounters } from './forward/counters.ts';
import { InternalPort } from './forward/internal-port.ts';
import { Router } from './forward/router.ts';
import { RoutingTables } from './forward/tables.ts';
import { createMetrics } from './metrics.ts';
import { defaultTimeouts, ServingPort, type SocketHandle } from './server.ts';
import { defaultServiceTimeouts, ModelService } from './service.ts';
import { watchEventLoop } from './watchdog.ts';

/** Milliseconds. */
export interface ModelServerTimes {
  readonly lingerMs: number;
  readonly drainMs: number;
  readonly loadAfterMs: number;
  readonly loadMs: number | undefined;
  readonly runMs: number | undefined;
  readonly lookAgainMs: number;
}

const tell = (message: FromModelServer) => {
  if (process.connected) process.send?.(message);
};

/** As routing tables call it: a pod by its host name, processes of one machine by their ids. */
const nameOfProcess = (): string => (process.send ? String(process.pid) : hostname());

/** Resolves when the model is loaded, or has failed to for good. */
export async function runModelServer(config: ModelServerConfig, times: ModelServerTimes): Promise<void> {
  const { model, version, listen, routing } = config;
  const log = pino(
    { base: { model, version }, level: process.env['LEVADA_LOG_LEVEL'] ?? 'info' },
    pino.destination({ sync: true }),
  );
  const { loadMs = defaultServiceTimeouts.loadMs, runMs = defaultServiceTimeouts.runMs } = times;
  const service = new ModelService(config, {
    log,
    metrics: (queuedRows) => createMetrics(model, version, queuedRows),
    onStatus: (status) => tell({ type: 'status', status }),
    onFatal(reason) {
      log.fatal({ reason }, 'the process ends: it cannot serve any more');
      // A native call that never returns would hold up an orderly exit for ever.
      process.kill(process.pid, 'SIGKILL');
    },
    timeouts: { loadMs, runMs },
    ...(routing && {
      router: ({ registry }) => new Router({ version, name: nameOfProcess(), counters: new RoutingCounters(registry) }),
    }),
  });
  const server = new ModelServer(service, log, times);
  const tables =
    routing &&
    new RoutingTables(routing, (table) => {
      service.router?.apply(table);
      server.follow(table.stable.version === version);
    });
  await tables?.boot(log);
  if (process.send) {
    // On a cluster the kubelet finds out, with /livez.
    watchEventLoop(runMs);
    server.obey();
  } else {
    process.on('SIGINT', () => void server.drain('SIGINT'));
    await server.port.listen('serving', { host: listen.host, port: listen.serving });
  }
  process.on('SIGTERM', () => void server.drain('SIGTERM', process.send ? 0 : times.lingerMs));
  if (listen.internal !== undefined) {
    tell({ type: 'internal', port: await server.internal.listen(listen.host, listen.internal) });
  }
  const admin = await startAdmin({
    host: listen.host,
    port: listen.admin,
    metrics: service.metrics,
    status: (): ModelServerReport => ({
      ...service.status,
      draining: server.draining,
      ...(tables && { routing: tables.status }),
    }),
    tables,
    routing: tables && (() => (service.router as Router).report(tables.status)),
  });
  tell({ type: 'admin', port: admin });
  await pause(times.loadAfterMs);
  await service.load();
  // `levada up` watches the files itself.
  for (let pauseMs = times.lookAgainMs; !process.send && waits(service); pauseMs = Math.min(60_000, 2 * pauseMs)) {
    await pause(pauseMs);
    await service.load();
  }
}

/** Whether the model could not be loaded for a reason that may pass without a new process. */
function waits({ status }: ModelService): boolean {
  const code = errorCodeOf(status.failure);
  return code !== undefined && errors[code].outcome === 'wait';
}

class ModelServer {
  readonly port: ServingPort;
  /** Listens where the configuration says so. */
  readonly internal: InternalPort;
  draining = false;
  #wasStable = false;
  readonly #service: ModelService;
  readonly #log: Logger;
  readonly #drainMs: number;

  constructor(service: ModelService, log: Logger, { drainMs }: ModelServerTimes) {
    this.port = new ServingPort(service, defaultTimeouts);
    this.internal = new InternalPort(service);
    this.#service = service;
    this.#log = log;
    this.#drainMs = drainMs;
  }

  /** Does what `levada up` says. */
  obey(): void {
    process.on('message', (message: ToModelServer, socket?: SocketHandle) => this.#receive(message, socket));
    process.on('disconnect', () => void this.drain('levada up has ended'));
    // Ctrl-C reaches the whole process group; `levada up` says what is to happen.
    process.on('SIGINT', () => {});
  }

  /** The Service leads here, or does not any more: then who is connected is to come to where it leads. */
  follow(isStable: boolean): void {
    if (this.draining) return;
    if (isStable) this.port.serve();
    else if (this.#wasStable) this.port.retire();
    this.#wasStable = isStable;
  }

  /** @param lingerMs how long requests are still taken, where some are sent here */
  async drain(why: string, lingerMs = 0): Promise<void> {
    if (this.draining) return;
    this.draining = true;
    this.#log.info({ why }, 'draining');
    this.port.retire();
    // Without a moment in between: who connects in it would have its connection reset.
    if (lingerMs > 0 && this.#service.status.state === 'Loaded') await pause(lingerMs);
    setTimeout(() => {
      this.#log.warn({ ms: this.#drainMs }, 'the time to drain is over');
      // Not an orderly exit: that would wait for the run that has held up the drain.
      process.kill(process.pid, 'SIGKILL');
    }, this.#drainMs).unref();
    await Promise.all([this.port.drain(), this.internal.drain()]);
    await this.#service.idle();
    await this.#service.close();
    this.#log.info('drained');
    // An orderly exit would wait for a model that is being loaded in native code, for ever if that never ends.
    if (this.#service.status.state === 'Loading') process.kill(process.pid, 'SIGKILL');
    process.exit(0);
  }

  #receive(message: ToModelServer, socket?: SocketHandle): void {
    if (message.type === 'drain') void this.drain('asked to');
    else if (message.type === 'release') {
      void this.port.release(message.socket);
      tell({ type: 'released', socket: message.socket });
    } else {
      // `_handle` is how Node's listen() takes a bare handle.
      this.port.listen(message.socket, { _handle: socket }).then(
        () => tell({ type: 'listening', socket: message.socket }),
        (error: unknown) => this.#log.error({ socket: message.socket }, messageOf(error)),
      );
    }
  }
}
