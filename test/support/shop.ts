/** The shop example as tests see it: its resources, its services, and what becomes of the orders of expected/orders.json. */
import { accessSync, constants } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { delimiter, join, resolve } from 'node:path';
import { LocalServices } from '../../operator/drivers/local/services.ts';
import { type LocalService, parseLocal } from '../../operator/source/local.ts';
import { readYaml } from '../../operator/source/yaml.ts';
import { until } from './wait.ts';

export const shopFolder = resolve(import.meta.dirname, '../../examples/shop');

/** A body of POST /orders/. */
export interface ShopOrder {
  readonly items: readonly string[];
  readonly total_amount: number;
  readonly user_id: number;
}

/** What is to become of an order, apart from its id. */
export interface ExpectedOrder {
  readonly order: ShopOrder;
  /** The model's row. */
  readonly inputs: readonly number[];
  /** Probability, by scikit-learn. */
  readonly fraud: number;
  /** Whether order.flagged comes out; otherwise the step `flag` skips it. */
  readonly flagged: boolean;
  readonly inventory: 'stock.reserved' | 'stock.rejected';
  /** Data of that event, beside order_id, user_id and reservation_id. */
  readonly reply: Readonly<Record<string, unknown>>;
  /** Data of shipment.booked, beside order_id and shipment_id; absent where nothing is reserved. */
  readonly shipment?: Readonly<Record<string, unknown>>;
  /** Of the step `enrich`, in order: the items, the customer, the quote. `data` only where something was found. */
  readonly results: ReadonlyArray<{ readonly status: number; readonly data?: unknown }>;
}

interface ExpectedOrders {
  /** Of probabilities. */
  readonly tolerance: number;
  readonly orders: readonly ExpectedOrder[];
}

export const expectedOrders = async (): Promise<ExpectedOrders> =>
  JSON.parse(await readFile(join(shopFolder, 'expected/orders.json'), 'utf8')) as ExpectedOrders;

/** Data of the events that come out for an order of that id, by type. The enrichment holds `results` without their URLs. */
export function expectedEvents(expected: ExpectedOrder, orderId: string): Record<string, unknown> {
  const { order, fraud, flagged, inventory, reply, shipment, results } = expected;
  const { user_id } = order;
  const reservation = shipment && { reservation_id: `res-${orderId}` };
  const created = { ...order, order_id: orderId, status: 'pending' };
  return {
    'order.created': created,
    [inventory]: { order_id: orderId, user_id, ...reservation, ...reply },
    ...(shipment && { 'shipment.booked': { order_id: orderId, shipment_id: `ship-${orderId}`, ...shipment } }),
    'order.scored': { ...created, fraud },
    'order.enriched': { ...created, fraud, results },
    ...(flagged && { 'order.flagged': { order_id: orderId, user_id, fraud } }),
  };
}

/** Documents of shop.yaml. */
export async function shopResources(): Promise<Array<Record<string, unknown>>> {
  const { documents } = readYaml(await readFile(join(shopFolder, 'shop.yaml'), 'utf8'));
  return documents.map(({ value }) => value as Record<string, unknown>);
}

/** `services` of the example's levada.local.yaml. */
export async function shopServices(): Promise<Record<string, LocalService>> {
  const { documents } = readYaml(await readFile(join(shopFolder, 'levada.local.yaml'), 'utf8'));
  const { local, problems } = parseLocal(documents[0]?.value, shopFolder, () => undefined);
  if (!local) throw new Error(JSON.stringify(problems));
  return local.services;
}

/** Why services in Python and Java cannot run here, for a test to be skipped with; an error under CI=true. */
export function missingLanguages(): string | undefined {
  const missing = ['python3', 'java'].filter((program) => !isInstalled(program));
  if (missing.length === 0) return undefined;
  const text = `not installed: ${missing.join(', ')}`;
  if (process.env['CI'] === 'true') throw new Error(`${text}; .ci/run installs them`);
  return text;
}

const isInstalled = (program: string): boolean =>
  (process.env['PATH'] ?? '').split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });

export interface RunningServices {
  /** `http://127.0.0.1:PORT`, without a slash at the end. */
  origin(name: string): string;
  readonly lines: readonly string[];
  stop(): Promise<void>;
}

/** Starts services, and waits until all of them are ready. */
export async function startServices(services: Record<string, LocalService>): Promise<RunningServices> {
  const lines: string[] = [];
  const log = (line: string) => lines.push(line);
  const running = new LocalServices({ log: (name, line) => log(`${name}: ${line}`), note: log, changed() {} });
  await running.apply(services);
  const stop = () => running.stop();
  try {
    for (const name of Object.keys(services)) {
      await until(`${name} is ready`, () => running.state(name)?.state === 'Ready', {
        timeoutMs: 60_000,
        seen: () => `${running.state(name)?.detail}\n${lines.join('\n')}`,
      });
    }
  } catch (error) {
    await stop();
    throw error;
  }
  return { origin: (name) => running.origin(name)?.origin ?? '', lines, stop };
}
export { Shop } from './shop-up.ts';
