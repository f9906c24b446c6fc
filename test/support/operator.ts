import type { KubeClient } from '../../operator/engine/client.ts';
import { OperatorMetrics } from '../../operator/engine/metrics.ts';
import { Operator, type OperatorOptions } from '../../operator/operator.ts';

/** An operator inside of a test, which runs until it is closed. */
export class RunningOperator implements AsyncDisposable {
  readonly log: string[] = [];
  readonly metrics = new OperatorMetrics();
  readonly operator: Operator;
  readonly ended: Promise<'closed' | 'lost'>;

  constructor(client: KubeClient, options: Partial<OperatorOptions> = {}) {
    this.operator = new Operator(client, {
      image: 'levada:test',
      lease: { namespace: 'default', name: 'levada', retryMs: 200 },
      identity: `test-${Math.random()}`,
      metrics: this.metrics,
      backoff: { firstMs: 20, maxMs: 200 },
      pauses: { openMs: 100, endMs: 500 },
      retry: { firstMs: 50, maxMs: 500 },
      lookMs: 500,
      log: (text, about = {}) => void this.log.push(`${text} ${JSON.stringify(about)}`),
      ...options,
    });
    this.ended = this.operator.run();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.operator.close();
    await this.ended;
  }
}
