import { join } from 'node:path';
import type { EventPipeline } from '../../api/v1alpha1/event-pipeline.ts';
import type { LiveStep } from '../../cli/up/admin.ts';
import type { DeadLetter, DeadLetterFilter } from '../../runtime/pipeline/dead-letters.ts';
import { type Running, root, Workspace } from './up.ts';
import { until } from './wait.ts';

const pipeline = 'default/orders';

/** The shop example, copied to a folder of its own and run by `levada up`. */
export class Shop implements AsyncDisposable {
  readonly workspace: Workspace;
  readonly running: Running;
  /** By name: orders-api, inventory, orders-shipping, fraud … */
  readonly services: Readonly<Record<string, string>>;

  private constructor(workspace: Workspace, running: Running, services: Readonly<Record<string, string>>) {
    this.workspace = workspace;
    this.running = running;
    this.services = services;
  }

  /** @param change what is done with the copy before it is run; shop.yaml and levada.local.yaml are in `shop/` */
  static async start(change: (workspace: Workspace) => Promise<void> = async () => {}): Promise<Shop> {
    const workspace = await Workspace.create();
    await workspace.copy(join(root, 'examples/shop'), 'shop');
    await change(workspace);
    const running = workspace.spawn(['up', 'shop']);
    await running.says('orders: Running', { timeoutMs: 60_000 });
    await running.says('fraud: Serving', { timeoutMs: 60_000 });
    const { services } = await workspace.get('eventpipeline/orders');
    const fraud = await workspace.get('modeldeployment/fraud');
    return new Shop(workspace, running, { ...services, ...fraud.services });
  }

  /** Posts an order: JSON of anything, or a body as it is. */
  post(body: unknown, headers: Record<string, string> = {}): Promise<Response> {
    return fetch(`${this.services['orders-api']}/orders/`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: typeof body === 'string' ? body : JSON.stringify(body),
      signal: AbortSignal.timeout(30_000),
    });
  }

  async resource(): Promise<EventPipeline> {
    return await this.workspace.get<EventPipeline>('eventpipeline/orders');
  }

  /** What `levada status orders -o json` says of the steps, this moment. */
  async steps(): Promise<Record<string, LiveStep>> {
    const live = await this.workspace.ask<LiveStep[]>('/steps', { pipeline });
    return Object.fromEntries(live.map((step) => [step.name, step]));
  }

  /** What `levada dlq orders ls -o json` prints. */
  deadLetters(filter: DeadLetterFilter = {}): Promise<DeadLetter[]> {
    return this.workspace.ask<DeadLetter[]>('/deadletters', { pipeline, filter, limit: 1_000_000 });
  }

  /** Waits until no message waits or is in hand anywhere. */
  idle(timeoutMs = 60_000): Promise<Record<string, LiveStep>> {
    return until(
      'nothing is left in the queues',
      async () => {
        const steps = await this.steps();
        return Object.values(steps).every(({ waiting, inFlight }) => waiting + inFlight === 0) ? steps : undefined;
      },
      { timeoutMs },
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.running.interrupt();
    await this.workspace[Symbol.asyncDispose]();
  }
}
