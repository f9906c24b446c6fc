import * as z from 'zod';
import { dns1035, dnsLabel, limits } from '../contract/names.ts';
import { atMost, text } from './common.ts';
import {
  durationPattern,
  eventTypePattern,
  literalPattern,
  urlPattern,
  wrappedPattern,
} from './event-pipeline-rules.ts';

/** Name of a resource that is referred to. */
export const resourceName = z.string().min(1).max(limits.resourceName).regex(dns1035);

export const partName = z.string().min(1).max(limits.partName).regex(dnsLabel);

/** A type of CloudEvents: words between dots. `*` and `#` would be wildcards of a topic exchange. */
export const eventType = z.string().min(1).max(128).regex(eventTypePattern);

/** Types, each once: a queue that is bound twice to a type would still get one copy. */
export const eventTypes = z.array(eventType).max(16).meta({ 'x-kubernetes-list-type': 'set' });

export const duration = z.string().max(32).regex(durationPattern);

/** JSON of any form, null included; strings wrapped in `{% … %}` are expressions, wherever they stand. */
export const template = z.unknown().meta({ 'x-kubernetes-preserve-unknown-fields': true, nullable: true });

/** {@link template}s by name. */
export const templates = (keyLength: number) =>
  z.record(z.string().min(1).max(keyLength), template).check(atMost(64)).meta({ maxProperties: 64 });

/** Text that is an expression without being wrapped. */
export const expression = text(4096).min(1);

/** Text that must be wrapped: a literal would make no sense. */
export const wrapped = text(4096).regex(wrappedPattern);

export const httpUrl = text(2048).regex(urlPattern);

/** Name of an exchange or queue of somebody else. A broker takes nearly anything; `{%` would look like an expression. */
export const brokerName = text(255).min(1).regex(literalPattern);
