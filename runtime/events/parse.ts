import { LevadaError } from '../../api/errors.ts';
import { isJsonType, JsonProblem, printable, readJson } from './json.ts';
import type { Event, Message } from './message.ts';

/**
 * A message with its data parsed. Data is JSON: where `datacontenttype` says so, or is absent. No bytes are `null`.
 *
 * @throws LevadaError MessageInvalid
 */
export function readEvent(message: Message): Event {
  const { datacontenttype: type, data } = message;
  if (type !== undefined && !isJsonType(type)) {
    const detail = `datacontenttype is ${JSON.stringify(printable(type, 80))}; allowed: application/json, …+json`;
    throw new LevadaError('MessageInvalid', { detail });
  }
  if (data.length === 0) return { message, data: null };
  try {
    return { message, data: readJson(data) };
  } catch (error) {
    if (!(error instanceof JsonProblem)) throw error;
    throw new LevadaError('MessageInvalid', { detail: `its data: ${error.message}` }, { cause: error });
  }
}
