import { namespacedName } from '../api/contract/names.ts';
import { LevadaError } from '../api/errors.ts';
import type { EventPipeline } from '../api/v1alpha1/event-pipeline.ts';
import { typeOf } from '../operator/drivers/kubernetes/types.ts';
import type { StoredObject } from '../operator/engine/objects.ts';
import { RabbitTransport } from '../runtime/transports/rabbitmq/transport.ts';
import type { ClusterFlags } from './cluster.ts';
import { onCluster } from './cluster-ask.ts';
import { forwardBy, reach, settingsOf } from './cluster-broker.ts';
import { type DeadLetterDesk, deskOf } from './dead-letter-desk.ts';

export interface BrokerFlags extends ClusterFlags {
  /** Secret of the broker, where the pipeline names none. */
  readonly brokerSecret?: string;
}

/**
 * The dead letters of a pipeline of a cluster, straight from its broker: who asks needs the rights to read the pipeline and the
 * broker's Secret, and that user's in the broker.
 *
 * @throws LevadaError Cluster…, KubeconfigInvalid, Secret…, Broker…, Usage, and what `work` throws
 */
export const onClusterDesk = <T>(flags: BrokerFlags, name: string, work: (desk: DeadLetterDesk) => Promise<T>) =>
  onCluster(flags, async (client, namespace, config) => {
    const pipeline = await client.get<EventPipeline & StoredObject>(typeOf('EventPipeline'), { namespace, name });
    const secret = pipeline.spec.broker?.rabbitmq?.secretRef?.name ?? flags.brokerSecret;
    if (secret === undefined) {
      const detail = `${name} is on the operator's own broker: name its Secret by --broker-secret`;
      throw new LevadaError('Usage', { detail });
    }
    const said = await settingsOf(client, { namespace, name: secret });
    const isInside = process.env['KUBERNETES_SERVICE_HOST'] !== undefined;
    const reached = await reach(client, said, { namespace, isInside, forward: forwardBy(config) });
    const transport = new RabbitTransport(reached.settings, { name: `levada dlq ${name}` });
    try {
      const key = namespacedName({ namespace, name });
      const place = transport.lookAt(key);
      const declared = new Set([...pipeline.spec.steps, ...pipeline.spec.sources].map((part) => part.name));
      const queues = async () =>
        Object.fromEntries(
          Object.entries(await place.depths(key)).map(([step, { dead }]) => [
            step,
            { running: declared.has(step), dead },
          ]),
        );
      return await work(deskOf(place, key, queues));
    } finally {
      await transport.close();
      await reached.close();
    }
  });
