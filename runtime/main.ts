/**
 * The data plane: one process serves one unit, which its configuration file describes.
 *
 *     node runtime/main.ts --config unit.json
 *
 * On a cluster it listens on the ports of the configuration. Started by `levada up` it has an IPC channel instead, and
 * gets its listening sockets through that.
 */
import { readFile } from 'node:fs/promises';
import { setTimeout as setTimeoutPromise } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import pino from 'pino';
import {
  drainTimeoutMs,
  type FromModelServer,
  type ModelServerConfig,
  type ToModelServer,
} from '../api/contract/model-server.ts';
import { messageOf } from '../api/errors.ts';
import { startAdmin } from './admin.ts';
import { createMetrics } from './inference/metrics.ts';
import { defaultTimeouts, ServingPort, type SocketHandle } from './inference/server.ts';
import { defaultServiceTimeouts, ModelService } from './inference/service.ts';
import { watchEventLoop } from './inference/watchdog.ts';

const { values } = parseArgs({
  options: {
    config: { type: 'string', default: 'unit.json' },
    /** After a crash: be there and answer, but load what may have caused it only later. */
    'load-after-ms': { type: 'string', default: '0' },
    /** The process ends when loading, or one run, takes longer: nothing else stops a model that never ends. */
    'load-timeout-ms': { type: 'string', default: String(defaultServiceTimeouts.loadMs) },
    'run-timeout-ms': { type: 'string', default: String(defaultServiceTimeouts.runMs) },
    /** What is in hand is given up after this time. */
    'drain-timeout-ms': { type: 'string', default: String(drainTimeoutMs) },
  },
});
const config = JSON.parse(await readFile(values.config, 'utf8')) as ModelServerConfig; // checked by who wrote it
const { model, version } = config;
const log = pino(
  { base: { model, version }, level: process.env['LEVADA_LOG_LEVEL'] ?? 'info' },
  pino.destination({ sync: true }),
);
const timeouts = { loadMs: Number(values['load-timeout-ms']), runMs: Number(values['run-timeout-ms']) };
const supervised = process.send !== undefined;
const tell = (message: FromModelServer) => {
  if (process.connected) process.send?.(message);
};

const service = new ModelService(config, {
  log,
  metrics: (queuedRows) => createMetrics(model, version, queuedRows),
  onStatus: (status) => tell({ type: 'status', status }),
  onFatal(reason) {
    log.fatal({ reason }, 'the process ends: it cannot serve any more');
    // A native call that never returns would hold up an orderly exit for ever.
    process.kill(process.pid, 'SIGKILL');
  },
  timeouts,
});
const port = new ServingPort(service, defaultTimeouts);
const drainMs = Number(values['drain-timeout-ms']);
let draining = false;

async function drain(why: string): Promise<void> {
  if (draining) return;
  draining = true;
  log.info({ why }, 'draining');
  setTimeout(() => {
    log.warn({ ms: drainMs }, 'the time to drain is over');
    // Not an orderly exit: that would wait for the run that has held up the drain.
    process.kill(process.pid, 'SIGKILL');
  }, drainMs).unref();
  await port.drain();
  await service.idle();
  await service.close();
  log.info('drained');
  // An orderly exit would wait for a model that is being loaded in native code, for ever if that never ends.
  if (service.status.state === 'Loading') process.kill(process.pid, 'SIGKILL');
  process.exit(0);
}

function receive(message: ToModelServer, socket?: SocketHandle): void {
  if (message.type === 'drain') void drain('asked to');
  else if (message.type === 'release') {
    void port.release(message.socket);
    tell({ type: 'released', socket: message.socket });
  } else {
    // `_handle` is how Node's listen() takes a bare handle.
    port.listen(message.socket, { _handle: socket }).then(
      () => tell({ type: 'listening', socket: message.socket }),
      (error: unknown) => log.error({ socket: message.socket }, messageOf(error)),
    );
  }
}

if (supervised) {
  // On a cluster the kubelet finds out, with /livez.
  watchEventLoop(timeouts.runMs);
  process.on('message', receive);
  process.on('disconnect', () => void drain('levada up has ended'));
  // Ctrl-C reaches the whole process group; `levada up` says what is to happen.
  process.on('SIGINT', () => {});
} else {
  process.on('SIGINT', () => void drain('SIGINT'));
  await port.listen('serving', { host: config.listen.host, port: config.listen.serving });
}
process.on('SIGTERM', () => void drain('SIGTERM'));
const admin = await startAdmin({
  host: config.listen.host,
  port: config.listen.admin,
  metrics: service.metrics,
  status: () => ({ ...service.status, draining }),
});
tell({ type: 'admin', port: admin });
await setTimeoutPromise(Number(values['load-after-ms']));
await service.load();
