/**
 * The operator. It finds the cluster as kubectl does: by KUBECONFIG, or by the service account of its pod.
 *
 *   node operator/main.ts --image IMAGE --lease NAMESPACE/NAME [--namespace NAME]… [--broker-secret NAME]
 *     [--health HOST:PORT]
 */
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { parseArgs } from 'node:util';
import { pino } from 'pino';
import { LevadaError, messageOf } from '../api/errors.ts';
import { startAdmin } from '../runtime/admin.ts';
import { type Access, KubeClient } from './engine/client.ts';
import { OperatorMetrics } from './engine/metrics.ts';
import { serviceAccountAccess } from './engine/service-account.ts';
import { Operator } from './operator.ts';

const logger = pino({ base: null, timestamp: pino.stdTimeFunctions.isoTime });
const log = (text: string, about: object = {}) => logger.info(about, text);

/** @throws LevadaError Usage */
function readFlags(args: readonly string[]) {
  const usage = (detail: string) => new LevadaError('Usage', { detail });
  let values: { image?: string; lease?: string; namespace?: string[]; 'broker-secret'?: string; health?: string };
  try {
    ({ values } = parseArgs({
      args: [...args],
      options: {
        image: { type: 'string' },
        lease: { type: 'string' },
        namespace: { type: 'string', multiple: true },
        /** In the namespace of the lease: the broker of pipelines that name none. */
        'broker-secret': { type: 'string' },
        health: { type: 'string' },
      },
    }));
  } catch (error) {
    throw usage(messageOf(error));
  }
  const { image = '', lease = '', namespace: namespaces, 'broker-secret': secret, health = '127.0.0.1:0' } = values;
  if (image === '') throw usage('--image: found nothing; allowed: the image of every pod');
  const [, place, name] = /^([^/]+)\/([^/]+)$/.exec(lease) ?? [];
  if (place === undefined || name === undefined) throw usage(`--lease: found ${lease}; allowed: NAMESPACE/NAME`);
  const [, host, port] = /^(.+):(\d{1,5})$/.exec(health) ?? [];
  if (host === undefined || Number(port) > 65_535) throw usage(`--health: found ${health}; allowed: HOST:PORT`);
  const broker = secret === undefined ? undefined : { namespace: place, name: secret };
  return { image, lease: { namespace: place, name }, namespaces, broker, health: { host, port: Number(port) } };
}

/** @throws LevadaError KubeconfigInvalid */
async function findAccess(): Promise<Access> {
  const own = process.env['KUBECONFIG'] ? undefined : serviceAccountAccess(process.env);
  if (own) return own;
  // Only outside of a pod: what reads kubeconfigs is large.
  const [{ KubeConfig }, { kubeconfigAccess }] = await Promise.all([
    import('@kubernetes/client-node'),
    import('./engine/kubeconfig.ts'),
  ]);
  const config = new KubeConfig();
  config.loadFromDefault();
  return kubeconfigAccess(config);
}

async function main(): Promise<number> {
  const { health, namespaces, broker, ...flags } = readFlags(process.argv.slice(2));
  const metrics = new OperatorMetrics();
  const client = new KubeClient(await findAccess(), (method, code) => metrics.requested(method, code));
  const identity = `${hostname()}_${randomUUID()}`;
  const places = { ...(namespaces && { namespaces }), ...(broker && { broker }) };
  const operator = new Operator(client, { ...flags, ...places, identity, metrics, log });
  let draining = false;
  const status = () => ({
    state: operator.isReady ? ('Loaded' as const) : ('Loading' as const),
    draining,
    ...(!operator.isAlive && { hung: 'a look at a resource has not ended in time' }),
  });
  log('serves /metrics, /livez and /readyz', { ...health, port: await startAdmin({ ...health, metrics, status }) });
  const end = () => {
    if (draining) return;
    draining = true;
    operator.close().then(
      () => process.exit(0),
      (error: unknown) => {
        log(messageOf(error));
        process.exit(1);
      },
    );
  };
  process.on('SIGTERM', end);
  process.on('SIGINT', end);
  return (await operator.run()) === 'lost' ? 1 : 0;
}

main().then(
  (code) => {
    // Closing ends the process by itself.
    if (code !== 0) process.exit(code);
  },
  (error: unknown) => {
    process.stderr.write(`${messageOf(error)}\n`);
    process.exit(error instanceof LevadaError && error.code === 'Usage' ? 2 : 1);
  },
);
