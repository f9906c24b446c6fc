import type { ErrorCode } from '../../api/errors.ts';
import type { Attributes } from './attributes.ts';

/**
 * One message: a CloudEvent (specversion 1.0) with what Levada knows of its delivery. A value: nobody changes one. The
 * data is bytes, as on a broker, so that no step sees what another made of it.
 */
export interface Message extends Attributes {
  readonly data: Uint8Array;
  readonly delivery: DeliveryInfo;
}

/** Our own: a broker's count of deliveries also counts those that never reached a handler. */
export interface DeliveryInfo {
  /** Of the attempt that is next or under way, from 1. */
  readonly attempt: number;
  /** Id of the replay that brought the message back, so that what is done already can be done again. */
  readonly replay?: string;
  /** It carried no id of its own: the one that it has was drawn when it was taken. */
  readonly unidentified?: true;
  /** Of a dead letter: why it is one. */
  readonly dead?: DeathCertificate;
}

export interface DeathCertificate {
  readonly reason: ErrorCode;
  /** Step that gave up. */
  readonly step: string;
  readonly attempt: number;
  /** What the last attempt ended with. */
  readonly error: string;
  /** RFC 3339. */
  readonly time: string;
}

/** A message as steps and expressions see it: `data` parsed. */
export interface Event {
  readonly message: Message;
  readonly data: unknown;
}

/** The attributes as expressions see them in `$event`: without the data and without empty ones. */
export function attributesOf({ data: _, extensions, delivery, ...attributes }: Message): Record<string, unknown> {
  return { specversion: '1.0', ...extensions, ...attributes, attempt: delivery.attempt };
}
