import { expect, it } from 'vitest';
import { LevadaError } from '../../api/errors.ts';
import { OperatorMetrics } from './metrics.ts';

it.each([
  ['nothing', undefined, 'success', 0],
  ['a failure', new Error('out of order'), 'error', 1],
  ['a conflict', new LevadaError('ClusterConflict', { what: 'patch /a', detail: 'modified' }), 'requeue', 0],
])('a look that ends with %s', async (_, error, result, errors) => {
  const metrics = new OperatorMetrics();
  metrics.reconciled('levada', 20, error);
  const text = await metrics.registry.metrics();
  expect(text).toContain(`controller_runtime_reconcile_total{controller="levada",result="${result}"} 1`);
  const counted = /^controller_runtime_reconcile_errors_total\{controller="levada"\} (\d+)$/m.exec(text)?.[1] ?? '0';
  expect(Number(counted)).toBe(errors);
});
