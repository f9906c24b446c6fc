import { brokerSecret } from '../../../api/contract/names.ts';
import { canonicalJson } from '../../../api/contract/routing-table.ts';
import { errorCodeOf, LevadaError } from '../../../api/errors.ts';
import { type RabbitSettings, settingsFromSecret } from '../../../brokers/rabbitmq/settings.ts';
import type { KubeClient } from '../../engine/client.ts';
import { pathOf, type StoredObject } from '../../engine/objects.ts';
import { pipelineLabels } from '../../objects/labels.ts';
import { metadataOf, type Owner } from '../../objects/metadata.ts';
import type { Signer } from '../routing/signing.ts';
import { fieldManager, refuseOthers } from './children.ts';
import { type LiveSecret, secrets } from './types.ts';

export interface SecretPlace {
  readonly namespace: string;
  readonly name: string;
}

/** How a broker is reached, and which version of its Secret says so. */
export interface FoundSecret {
  readonly settings: RabbitSettings;
  /**
   * Changes with what is in it, and with nothing else: not with a label, or when it is made anew from a backup. Nothing
   * can be read from it.
   */
  readonly version: string;
  /** As it is stored. */
  readonly data: Readonly<Record<string, string>>;
}

/** Reads Secrets of brokers, one at a time; what is in them goes nowhere but to connections and to other Secrets. */
export class BrokerSecrets {
  readonly #client: KubeClient;
  readonly #byDefault: SecretPlace | undefined;
  readonly #signer: () => Promise<Pick<Signer, 'mac'>>;

  /** @param byDefault the operator's own broker */
  constructor(client: KubeClient, signer: () => Promise<Pick<Signer, 'mac'>>, byDefault: SecretPlace | undefined) {
    this.#client = client;
    this.#signer = signer;
    this.#byDefault = byDefault;
  }

  /**
   * @param secret `namespace/name`; absent: the operator's own
   * @param who for the error where there is neither
   * @throws LevadaError SecretNotFound, SecretInvalid, BrokerRequired, ClusterForbidden; ClusterUnavailable; as the signer does
   */
  async read(secret: string | undefined, who: string): Promise<FoundSecret> {
    const place = secret === undefined ? this.#byDefault : placeIn(secret);
    if (!place) throw new LevadaError('BrokerRequired', { found: who });
    const name = `${place.namespace}/${place.name}`;
    const found = await this.#get(place);
    if (!found) throw new LevadaError('SecretNotFound', { found: name, allowed: 'one that is there' });
    const { data = {} } = found;
    const decoded = Object.entries(data).map(([key, value]) => [key, Buffer.from(value, 'base64').toString()] as const);
    return {
      settings: settingsFromSecret(Object.fromEntries(decoded), name),
      // With its place: that two hold the same is not told either.
      version: (await this.#signer()).mac(canonicalJson([name, data])),
      data,
    };
  }

  /**
   * Makes a copy of the operator's own Secret beside `owner`, whose pods cannot mount one of another namespace.
   *
   * @throws LevadaError ObjectTaken, Cluster…
   */
  async copyTo(owner: Owner & StoredObject, data: FoundSecret['data']): Promise<void> {
    const { namespace = '', name: pipeline } = owner.metadata;
    const name = brokerSecret(pipeline);
    const found = await this.#get({ namespace, name });
    if (found) refuseOthers(owner, 'Secret', found);
    if (found && isSame(found.data ?? {}, data)) return;
    const metadata = metadataOf(owner, name, pipelineLabels(pipeline));
    const object = { metadata, data, type: 'Opaque' } as unknown as LiveSecret;
    await this.#client.apply(secrets, object, { fieldManager });
  }

  /**
   * Removes what {@link copyTo} has made: the pipeline has a broker of its own now. Where the operator has none, it has no
   * right to that either; a copy of before goes with its pipeline.
   */
  async dropCopy({ metadata: { namespace = '', name: pipeline, uid } }: Owner & StoredObject): Promise<void> {
    if (!this.#byDefault) return;
    const place = { namespace, name: brokerSecret(pipeline) };
    const found = await this.#get(place);
    if (!found?.metadata.ownerReferences?.some((one) => one.controller === true && one.uid === uid)) return;
    const body = { preconditions: { uid: found.metadata.uid } };
    await this.#client.call({ method: 'DELETE', path: pathOf(secrets, place), body });
  }

  async #get(place: SecretPlace): Promise<LiveSecret | undefined> {
    try {
      return await this.#client.get<LiveSecret>(secrets, place);
    } catch (error) {
      if (errorCodeOf(error) === 'ClusterNotFound') return undefined;
      throw error;
    }
  }
}

function placeIn(secret: string): SecretPlace {
  const [namespace = '', name = ''] = secret.split('/');
  return { namespace, name };
}

function isSame(a: FoundSecret['data'], b: FoundSecret['data']): boolean {
  const keys = new Set([...Object.keys(a), ...Object.keys(b)]);
  return [...keys].every((key) => a[key] === b[key]);
}
