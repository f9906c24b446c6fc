import { LevadaError, messageOf } from '../api/errors.ts';
import type { LocalResource } from './up/admin.ts';
import { isAlive, readRun } from './up/run-file.ts';

/**
 * What `levada up` runs from this folder.
 *
 * @throws LevadaError NoRun
 */
export async function localResources(): Promise<LocalResource[]> {
  const { pid, admin } = await readRun();
  if (!admin || !isAlive(pid))
    throw new LevadaError('NoRun', { detail: 'no run was started from this folder, or it has ended' });
  try {
    const headers = { authorization: `Bearer ${admin.token}` };
    const response = await fetch(`${admin.url}/resources`, { headers, signal: AbortSignal.timeout(5_000) });
    if (!response.ok) throw new Error(`it answers ${response.status}`);
    return (await response.json()) as LocalResource[]; // from this very program, by the token
  } catch (error) {
    throw new LevadaError(
      'NoRun',
      { detail: `process ${pid} does not answer (${messageOf(error)})` },
      { cause: error },
    );
  }
}
