import type { IncomingMessage } from 'node:http';
import { LevadaError } from '../../api/errors.ts';

/** Bytes of one body at most. JSON of a 1000 × 1000 picture has about 20 MB. */
export const maxBodyBytes = 32 * 2 ** 20;
/** Bytes of all bodies that are being read at most. */
const maxBudgetBytes = 256 * 2 ** 20;
let budget = 0;

/**
 * Reads the body of a request.
 *
 * @param done called once: with the error BodyTooLarge, MemoryBudget, UnsupportedMediaType, or with the body;
 *   never, when the client goes away before the end
 */
export function readBody(req: IncomingMessage, done: (error: LevadaError | undefined, body: Buffer) => void): void {
  const refused = refuse(req);
  if (refused) {
    done(refused, Buffer.alloc(0));
    return;
  }
  let first: Buffer | undefined;
  let chunks: Buffer[] | undefined;
  let size = 0;
  let ended = false;
  const finish = (error: LevadaError | undefined) => {
    if (ended) return;
    ended = true;
    budget -= size;
    if (error) chunks = first = undefined; // the listener stays, and with it whatever it refers to
    done(error, error ? Buffer.alloc(0) : chunks ? Buffer.concat(chunks, size) : (first ?? Buffer.alloc(0)));
  };
  req.on('data', (chunk: Buffer) => {
    if (ended) return;
    size += chunk.length;
    budget += chunk.length;
    if (size > maxBodyBytes)
      return finish(new LevadaError('BodyTooLarge', { found: `more than ${maxBodyBytes}`, limit: maxBodyBytes }));
    if (budget > maxBudgetBytes)
      return finish(new LevadaError('MemoryBudget', { found: budget, limit: maxBudgetBytes }));
    if (!first) first = chunk;
    else {
      chunks ??= [first];
      chunks.push(chunk);
    }
  });
  req.on('end', () => finish(undefined));
  req.on('close', () => {
    if (!ended) budget -= size;
    ended = true;
  });
}

/** What the headers alone tell. */
function refuse({ headers }: IncomingMessage): LevadaError | undefined {
  const encoding = headers['content-encoding'];
  if (encoding !== undefined && encoding !== 'identity') {
    return new LevadaError('UnsupportedMediaType', {
      found: `content-encoding ${encoding.slice(0, 80)}`,
      allowed: 'no compression',
    });
  }
  if (headers['inference-header-content-length'] !== undefined) {
    return new LevadaError('UnsupportedMediaType', { found: 'binary tensors', allowed: 'tensors as JSON' });
  }
  const length = Number(headers['content-length'] ?? 0);
  return length > maxBodyBytes ? new LevadaError('BodyTooLarge', { found: length, limit: maxBodyBytes }) : undefined;
}
