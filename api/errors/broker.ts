import { define } from './definition.ts';

/** Brokers, and what Levada keeps in them. */
export const brokerErrors = define({
  BrokerRefused: {
    outcome: 'wait',
    http: 503,
    message: 'the broker refuses the connection: {detail}',
    remedy: 'Correct user, password and vhost in the Secret or in LEVADA_BROKER_URL. It is tried again by itself.',
  },
  BrokerForbidden: {
    outcome: 'wait',
    message: 'the broker forbids it: {detail}',
    remedy:
      'Give the user configure, write and read permission on what begins with `levada.`; docs/guides/rabbitmq.md.',
  },
  QueueConflict: {
    outcome: 'wait',
    message: 'the broker has {found} already, made in another way: {detail}',
    remedy: 'Somebody else made it. Rename or remove it there; Levada changes nothing that it has not made.',
  },
  QueueNotFound: {
    outcome: 'wait',
    message: 'the broker has no {found}',
    remedy: 'Whoever owns it has to make it. It is looked for again by itself.',
  },
  PublishUnroutable: {
    outcome: 'retry',
    message: 'nothing is bound to {found}: the broker returned the message',
    remedy: 'Make the queue or the binding that is named, then `levada dlq NAME replay`.',
  },
  DeliveryLimitReached: {
    outcome: 'terminal',
    message: 'it was delivered {found}, and no consumer lived to say what became of it',
    remedy: 'Look for what kills the consumer: memory, or a crash in native code. Then `levada dlq NAME replay`.',
  },
  BrokerRequired: {
    outcome: 'terminal',
    message: '{found} needs a broker, and there is none',
    remedy:
      'Name its Secret in `spec.broker`; or give all pipelines one: LEVADA_BROKER_URL or `levada up --broker amqp://HOST:PORT` on a laptop, `--broker-secret` of the operator on a cluster.',
  },
  SecretNotFound: {
    outcome: 'wait',
    message: 'no Secret {found}; allowed: {allowed}',
    remedy: 'Apply the Secret. On a laptop add its manifest beside the resources, or `secrets` to levada.local.yaml.',
  },
  SecretInvalid: {
    outcome: 'wait',
    message: '{found}: {detail}',
    remedy: 'docs/guides/rabbitmq.md lists the keys for a broker, docs/guides/model-sources.md those for a model.',
  },
});
