/** A pod of a pipeline: the consumers of a step or `group`, or an http source, from its start to its end. */
import pino, { type Logger } from 'pino';
import { Registry } from 'prom-client';
import type { Failure } from '../../api/contract/pipeline.ts';
import type { PipelineUnitConfig, PipelineUnitStatus } from '../../api/contract/pipeline-unit.ts';
import { failureOf, LevadaError, messageOf } from '../../api/errors.ts';
import { settingsFromSecret } from '../../brokers/rabbitmq/settings.ts';
import { startAdmin } from '../admin.ts';
import { countedMs } from '../age.ts';
import { resolveInPod } from '../net/hosts.ts';
import { readSecret } from './secret.ts';
import { PipelineUnit } from './unit.ts';

/** Milliseconds. */
export interface Ending {
  /** How long an http source goes on after SIGTERM. */
  readonly lingerMs: number;
  /** How long what is in hand may take after that. */
  readonly drainMs: number;
}

/** Resolves when it has begun. What it cannot run is a state: a process that ends would only be started again. */
export async function runPipelineUnit(config: PipelineUnitConfig, { lingerMs, drainMs }: Ending): Promise<void> {
  const { pipeline, listen } = config;
  const log = pino(
    { base: { pipeline, unit: config.unit }, level: process.env['LEVADA_LOG_LEVEL'] ?? 'info' },
    pino.destination({ sync: true }),
  );
  const pod = new Pod(config, log, drainMs);
  await pod.start();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    // Ctrl-C is of somebody who waits, and has no Service.
    process.on(signal, () => void pod.end(signal, signal === 'SIGTERM' ? lingerMs : 0));
  }
  const { metrics } = pod;
  await startAdmin({ host: listen.host, port: listen.admin, metrics, status: () => pod.status });
}

class Pod {
  readonly #config: PipelineUnitConfig;
  readonly #log: Logger;
  readonly #drainMs: number;
  #unit: PipelineUnit | undefined;
  #failure: Failure | undefined;
  #missing = 0;
  #draining = false;

  constructor(config: PipelineUnitConfig, log: Logger, drainMs: number) {
    this.#config = config;
    this.#log = log;
    this.#drainMs = drainMs;
  }

  get metrics(): { readonly registry: Registry } {
    return this.#unit?.metrics ?? { registry: new Registry() };
  }

  get status(): PipelineUnitStatus {
    const draining = this.#draining;
    const failed = { state: 'Failed' as const, ...(this.#failure && { failure: this.#failure }) };
    const status = this.#unit?.status ?? { ...failed, consumers: {}, sources: {} };
    return { ...status, draining, countedMs: countedMs(), ...(this.#missing > 0 && { missing: this.#missing }) };
  }

  /** Never rejects. */
  async start(): Promise<void> {
    try {
      this.#unit = await this.#makeUnit();
    } catch (error) {
      this.#failure = failureOf(error);
      this.#log.error(this.#failure, 'it cannot be run');
      setInterval(() => {}, 60_000); // nothing else would keep the process, which is to say why
    }
  }

  async end(why: string, lingerMs: number): Promise<void> {
    if (this.#draining) return;
    this.#draining = true;
    this.#log.info({ why }, 'draining');
    await this.#unit
      ?.drain(lingerMs)
      .catch((error: unknown) => this.#log.error({ err: error }, 'the drain has failed'));
    this.#log.info('drained');
    process.exit(0);
  }

  /** @throws LevadaError StoreRequired, SecretNotFound, SecretInvalid */
  async #makeUnit(): Promise<PipelineUnit> {
    const { consumers, listen, names, secret, secretName, unit } = this.#config;
    const keeper = consumers.find(({ idempotency }) => idempotency);
    // What one pod remembers no other one knows, nor the next one.
    if (keeper) throw new LevadaError('StoreRequired', { found: keeper.name });
    const settings = settingsFromSecret(await readSecret(secret, secretName), secretName);
    return new PipelineUnit(this.#config, {
      settings,
      name: `levada ${unit} ${process.env['HOSTNAME'] ?? process.pid}`,
      resolve: (url) => resolveInPod(url, names.local),
      listen: () => ({ host: listen.host, port: listen.serving }),
      missing: () => {
        this.#missing++;
      },
      ended: () => {}, // counted by the metrics
      log: (part, text, error) => {
        if (error === undefined) this.#log.info({ part }, text);
        else this.#log.error({ part }, `${text}: ${messageOf(error)}`);
      },
      drainMs: this.#drainMs,
    });
  }
}
