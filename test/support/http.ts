import http from 'node:http';

export interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: string;
}

/** One request on a connection of its own. */
export function request(url: string, body?: string, timeoutMs = 20_000): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const method = body === undefined ? 'GET' : 'POST';
    const signal = AbortSignal.timeout(timeoutMs);
    const req = http.request(url, { method, agent: false, signal }, (res) => {
      let text = '';
      res.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
      });
      res.on('error', reject);
      res.on('end', () => resolve({ status: res.statusCode ?? 0, headers: res.headers, body: text }));
    });
    req.on('error', reject);
    req.end(body);
  });
}

/** Row 70 of examples/iris/expected/rows.json, one of three where the two models differ: 1 says v1, 2 says v2. */
export const features = [5.9, 3.2, 4.8, 1.8];

/** What answers for {@link features}, and as which version. */
export async function predict(url: string | undefined): Promise<{ prediction: number; version: string }> {
  const { status, headers, body } = await request(`${url}/predict`, JSON.stringify({ features }));
  if (status !== 200) throw new Error(`${status} ${body}`);
  const { prediction } = JSON.parse(body) as { prediction: number };
  return { prediction, version: String(headers['x-levada-version']) };
}

/** The answer of the simple API to {@link features}, right or not, without the parts that differ from call to call. */
export async function outcome(url: string | undefined): Promise<{ status: number; error: unknown; body: unknown }> {
  const { status, headers, body } = await request(`${url}/predict`, JSON.stringify({ features }));
  return { status, error: headers['x-levada-error'], body: JSON.parse(body) as unknown };
}
