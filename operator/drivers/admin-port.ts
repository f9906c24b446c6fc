import { request } from 'undici';

const timeoutMs = 2_000;

/**
 * Asks a process on its admin port. What answers is not trusted to be short, or to answer at all.
 *
 * @param mostBytes of the answer
 * @throws Error: it does not answer in time, or with more than that
 */
export async function askAdmin(
  url: string,
  mostBytes: number,
  put?: string,
): Promise<{ readonly status: number; readonly text: string }> {
  const { statusCode, body } = await request(url, {
    ...(put !== undefined && { method: 'PUT', body: put }),
    signal: AbortSignal.timeout(timeoutMs),
  });
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > mostBytes) throw new Error(`the answer has more than ${mostBytes} bytes`);
    chunks.push(chunk);
  }
  return { status: statusCode, text: Buffer.concat(chunks).toString() };
}
