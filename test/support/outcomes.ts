/** The rows of docs/guides/outcomes.md, and an example that is run for them. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { type BoundSocket, bindSocket } from '../../operator/drivers/local/sockets.ts';
import type { DeadLetter } from '../../runtime/pipeline/dead-letters.ts';
import type { ShopRun, Sunk } from './shop-all.ts';
import { Shop } from './shop-up.ts';
import { root } from './up.ts';
import { until } from './wait.ts';

/** Names of the rows that begin with one of the prefixes. */
export function rowsOf(...prefixes: string[]): string[] {
  const guide = readFileSync(join(root, 'docs/guides/outcomes.md'), 'utf8');
  const rows = [...guide.matchAll(/^\| `([a-z0-9-]+)` \|/gm)].map(([, name = '']) => name);
  return rows.filter((name) => prefixes.some((prefix) => name.startsWith(prefix)));
}

/** The prefixes that each file of tests has: together they are all rows. */
export const shares = {
  sources: ['source-'],
  handlers: ['handler-'],
  expressions: ['when-', 'expression-', 'model-', 'fanout-', 'duplicate'],
  resources: ['resource-'],
} as const;

interface Handled {
  readonly order_id: string;
  readonly attempt: number;
  readonly outcome: string;
}
type Spec = { sources: object[]; steps: Array<Record<string, unknown>>; events: Record<string, unknown> };

/** The example with a sink, short time-outs, two attempts, and whatever else a test adds. */
export class OutcomeShop implements ShopRun, AsyncDisposable {
  readonly shop: Shop;
  readonly #sink: ChildProcess;
  readonly #closed: BoundSocket;
  readonly #resource: { spec: Spec };
  readonly #rest: string;

  private constructor(shop: Shop, sink: ChildProcess, closed: BoundSocket, resource: { spec: Spec }, rest: string) {
    this.shop = shop;
    this.#sink = sink;
    this.#closed = closed;
    this.#resource = resource;
    this.#rest = rest;
  }

  /** @param env of `levada up` and the commands that ask it */
  static async start(
    change: (spec: Spec) => void = () => {},
    models = '',
    env: Readonly<Record<string, string>> = {},
  ): Promise<OutcomeShop> {
    let sink: ChildProcess | undefined;
    // Bound and never listened on: nobody answers there, and nobody else gets that port meanwhile.
    const closed = bindSocket('closed', 0);
    let resource = {} as { spec: Spec };
    let rest = '';
    const shop = await Shop.start(async (workspace) => {
      Object.assign(workspace.env, env);
      sink = spawn(process.execPath, [join(root, 'test/support/sink.ts'), workspace.path('sink.jsonl')], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const [port] = (await once(sink.stdout!, 'data')) as [Buffer];
      const local = parse(readFileSync(workspace.path('shop/levada.local.yaml'), 'utf8')) as {
        services: Record<string, object>;
      };
      Object.assign(local.services['inventory']!, { env: { INVENTORY_LEDGER: workspace.path('inventory.jsonl') } });
      const hosts = {
        sink: `http://127.0.0.1:${String(port).trim()}`,
        closed: `http://127.0.0.1:${closed.port}`,
      };
      await workspace.write('shop/levada.local.yaml', { ...local, hosts });
      const [first = '', second = ''] = readFileSync(workspace.path('shop/shop.yaml'), 'utf8').split('---\n');
      resource = parse(first) as { spec: Spec };
      const inventory = resource.spec.steps.find(({ name }) => name === 'inventory')!;
      // The memory of one run is a store that all steps of a laptop share.
      Object.assign(inventory, { retry: { maxAttempts: 2 }, idempotency: {} });
      Object.assign(inventory['http'] as object, { timeout: '3s' });
      resource.spec.steps.push({
        name: 'sink',
        consumes: ['stock.reserved', 'order.enriched'],
        http: { url: 'http://sink/' },
      });
      change(resource.spec);
      rest = second + models;
      await workspace.write('shop/shop.yaml', `${stringify(resource)}---\n${rest}`);
    });
    return new OutcomeShop(shop, sink!, closed, resource, rest);
  }

  /** Writes the pipeline with a change. */
  edit(change: (spec: Spec) => void): Promise<void> {
    const next = structuredClone(this.#resource);
    change(next.spec);
    return this.shop.workspace.write('shop/shop.yaml', `${stringify(next)}---\n${this.#rest}`);
  }

  /** Posts an order that is accepted. @returns its order_id */
  async order(order: { items?: readonly string[]; user_id?: number; total_amount?: number } = {}): Promise<string> {
    const response = await this.shop.post({ items: ['laptop'], user_id: 7, total_amount: 20, ...order });
    const text = await response.text();
    if (response.status !== 200) throw new Error(`${response.status} ${text}`);
    return (JSON.parse(text) as { order_id: string }).order_id;
  }

  /** The dead letter that an order has become at a step. */
  dead(step: string, orderId: string): Promise<DeadLetter> {
    return until(`${orderId} is a dead letter of ${step}`, async () =>
      (await this.shop.deadLetters({ step })).find(({ data }) => (data as { order_id?: string }).order_id === orderId),
    );
  }

  idle(): Promise<unknown> {
    return this.shop.idle();
  }

  deadLetters(): Promise<DeadLetter[]> {
    return this.shop.deadLetters();
  }

  /** The event of that type that came of an order. */
  emitted(type: string, orderId: string): Promise<Sunk> {
    return until(`${type} of ${orderId}`, () =>
      this.#lines<Sunk>('sink.jsonl').find((e) => e.type === type && e.data['order_id'] === orderId),
    );
  }

  hasEmitted(type: string, orderId: string): boolean {
    return this.#lines<Sunk>('sink.jsonl').some((e) => e.type === type && e.data['order_id'] === orderId);
  }

  /** `attempt outcome` of each call of the inventory for an order. */
  calls(orderId: string): string[] {
    return this.#lines<Handled>('inventory.jsonl')
      .filter(({ order_id }) => order_id === orderId)
      .map(({ attempt, outcome }) => `${attempt} ${outcome}`);
  }

  #lines<T>(name: string): T[] {
    const file = this.shop.workspace.path(name);
    if (!existsSync(file)) return [];
    const whole = readFileSync(file, 'utf8').split('\n').slice(0, -1);
    return whole.map((line) => JSON.parse(line) as T);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#sink.kill('SIGKILL');
    this.#closed.close();
    await this.shop[Symbol.asyncDispose]();
  }
}
