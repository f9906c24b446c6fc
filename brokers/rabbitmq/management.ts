import { Agent, request } from 'undici';
import { LevadaError, messageOf } from '../../api/errors.ts';
import { type RabbitSettings, shownBroker } from './settings.ts';

const timeoutMs = 5_000;
/** The management database lags behind, by five seconds and more. */
const verifyAttempts = 48;
const verifyEveryMs = 250;

interface Ruling {
  readonly policy?: unknown;
  readonly effective_policy_definition?: Readonly<Record<string, unknown>>;
}

/** Above what people write by hand, so that a pattern for everything does not win. */
const priority = 1_000;

/**
 * What AMQP does not know, over RabbitMQ's HTTP API: settings of queues that can change, kept in policies of their names,
 * and what a queue is bound to.
 */
export class Management {
  readonly #settings: RabbitSettings;
  readonly #agent: Agent;

  constructor(settings: RabbitSettings) {
    this.#settings = settings;
    const { ca, cert, key } = settings;
    // Whom the broker's own port is trusted by, and who asks: the same for this one.
    this.#agent = new Agent({ connect: { ca, cert, key } });
  }

  /**
   * @returns whether the policy is there; `false` where the user may not set it
   * @throws LevadaError BrokerUnavailable when nobody can tell now
   */
  async put(queue: string, definition: Readonly<Record<string, number>>): Promise<boolean> {
    const pattern = `^${queue.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}$`;
    const body = { pattern, definition, priority, 'apply-to': 'queues' };
    const status = await this.#ask('PUT', `policies/${this.#vhost}/${encodeURIComponent(queue)}`, body);
    if (status.code === 401 || status.code === 403) return false;
    if (status.code >= 300) throw this.#unavailable(`the policy ${queue} gets ${status.code}`);
    return true;
  }

  /** Whether the policy is what rules the queue: another one may match as well, and only one is applied. */
  async rules(queue: string, definition: Readonly<Record<string, number>>): Promise<boolean> {
    for (let attempt = 0; attempt < verifyAttempts; attempt++) {
      const { policy, effective_policy_definition: effective, fresh } = await this.#ruling(queue);
      const same = Object.entries(definition).every(([key, value]) => effective?.[key] === value);
      if (policy === queue && same) return true;
      if (fresh && policy !== undefined && policy !== queue) return false;
      await new Promise((resolve) => setTimeout(resolve, verifyEveryMs));
    }
    return false;
  }

  /** Without statistics the answer is of now, from 3.12 on; before, it has no policy, and that of statistics lags behind. */
  async #ruling(queue: string): Promise<Ruling & { fresh: boolean }> {
    const path = `queues/${this.#vhost}/${encodeURIComponent(queue)}`;
    const { body } = await this.#ask('GET', `${path}?disable_stats=true&enable_queue_totals=true`);
    if (body && Object.hasOwn(body, 'policy')) return { ...(body as Ruling), fresh: true };
    return { ...(((await this.#ask('GET', path)).body ?? {}) as Ruling), fresh: false };
  }

  /** @throws LevadaError BrokerUnavailable */
  async remove(queue: string): Promise<void> {
    await this.#ask('DELETE', `policies/${this.#vhost}/${encodeURIComponent(queue)}`);
  }

  /** Keys by which a queue is bound, as `EXCHANGE KEY`; `undefined`: nobody can tell, or the user may not ask. Never rejects. */
  async bindings(queue: string): Promise<ReadonlySet<string> | undefined> {
    const path = `queues/${this.#vhost}/${encodeURIComponent(queue)}/bindings`;
    const { body } = await this.#ask('GET', path).catch(() => ({ body: undefined }));
    if (!Array.isArray(body)) return undefined;
    const all = body as Array<{ readonly source?: unknown; readonly routing_key?: unknown }>;
    return new Set(all.map(({ source, routing_key: key }) => `${source} ${key}`));
  }

  get #vhost(): string {
    return encodeURIComponent(this.#settings.vhost);
  }

  async #ask(method: 'GET' | 'PUT' | 'DELETE', path: string, body?: unknown): Promise<{ code: number; body: unknown }> {
    const { managementUri = '', username, password } = this.#settings;
    const authorization = `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
    try {
      const { statusCode: code, body: answer } = await request(`${managementUri}/api/${path}`, {
        method,
        dispatcher: this.#agent,
        headers: { authorization, 'content-type': 'application/json' },
        signal: AbortSignal.timeout(timeoutMs),
        ...(body !== undefined && { body: JSON.stringify(body) }),
      });
      const text = await answer.text();
      return { code, body: code === 200 && text !== '' ? JSON.parse(text) : undefined };
    } catch (error) {
      throw this.#unavailable(messageOf(error), error);
    }
  }

  #unavailable(detail: string, cause?: unknown): LevadaError {
    const where = `the management API of ${shownBroker(this.#settings)}`;
    return new LevadaError('BrokerUnavailable', { detail: `${where}: ${detail}` }, { cause });
  }
}
