import { Agent, request } from 'node:http';

const timeoutMs = 2_000;

/**
 * A connection for each question: thousands of pods are asked once in a while, a few each second, and one that was kept may end
 * just when it is used. undici's pool for each origin costs ten times as much.
 */
const agent = new Agent({ keepAlive: false });

/**
 * Asks a process on its admin port. What answers is not trusted to be short, or to answer at all.
 *
 * @param mostBytes of the answer
 * @throws Error: it does not answer in time, or with more than that
 */
export function askAdmin(
  url: string,
  mostBytes: number,
  put?: string,
): Promise<{ readonly status: number; readonly text: string }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number; text: string }>();
  const headers = put === undefined ? {} : { 'content-length': Buffer.byteLength(put) };
  const asked = request(url, { agent, method: put === undefined ? 'GET' : 'PUT', headers }, (answer) => {
    const chunks: Buffer[] = [];
    let size = 0;
    answer.on('data', (chunk: Buffer) => {
      size += chunk.length;
      chunks.push(chunk);
      if (size > mostBytes) fail(`the answer has more than ${mostBytes} bytes`);
    });
    answer.once('error', reject); // it was cut
    answer.once('end', () => resolve({ status: answer.statusCode ?? 0, text: Buffer.concat(chunks).toString() }));
  });
  const fail = (text: string) => {
    const error = new Error(text);
    reject(error);
    asked.destroy(error);
  };
  // The whole of it: an answer that never ends is none, nor is one to something else (101), of which nothing else is told.
  const late = setTimeout(() => fail(`no answer within ${timeoutMs / 1_000} s`), timeoutMs);
  asked.once('error', reject);
  asked.end(put);
  return promise.finally(() => clearTimeout(late));
}
