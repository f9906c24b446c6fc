import { Agent, fetch, type Response } from 'undici';
import { LevadaError, messageOf } from '../api/errors.ts';
import type { AdminRequest, LocalResource } from './up/admin.ts';
import { isAlive, readRun } from './up/run-file.ts';

/**
 * What `levada up` runs from this folder.
 *
 * @throws LevadaError NoRun
 */
export const localResources = (): Promise<LocalResource[]> => askRun<LocalResource[]>('/resources');

/** To replay many takes long: the limits of `fetch` are minutes. */
const longestMs = 24 * 3_600_000;
const patient = new Agent({ headersTimeout: longestMs, bodyTimeout: longestMs });

/**
 * Asks the run of a folder. The answer comes from this very program, by the token, so its type is taken on trust.
 *
 * @param path one of the paths of cli/up/admin.ts
 * @throws LevadaError NoRun, Error when the run could not do it
 */
export async function askRun<T>(path: string, request: AdminRequest = {}, folder = '.'): Promise<T> {
  const { pid, admin } = await readRun(folder);
  if (!admin || !isAlive(pid))
    throw new LevadaError('NoRun', { detail: 'no run was started from this folder, or it has ended' });
  let response: Response;
  let text: string;
  try {
    const headers = { authorization: `Bearer ${admin.token}`, 'content-type': 'application/json' };
    const body = JSON.stringify(request);
    response = await fetch(`${admin.url}${path}`, {
      method: 'POST',
      headers,
      body,
      dispatcher: patient,
    });
    text = await response.text();
  } catch (error) {
    throw new LevadaError(
      'NoRun',
      { detail: `process ${pid} does not answer (${messageOf(error)})` },
      { cause: error },
    );
  }
  if (response.ok) return JSON.parse(text) as T;
  if (response.status !== 500) throw new LevadaError('NoRun', { detail: `process ${pid} answers ${response.status}` });
  const { code, message } = JSON.parse(text) as { code?: string; message: string };
  throw Object.assign(new Error(message), { code });
}
