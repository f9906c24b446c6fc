import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ensurePython } from '../../cli/python.ts';
import { exportIris } from '../../hack/export-iris.ts';

export const root = fileURLToPath(new URL('../../', import.meta.url));

/** What the parts of one run share: a folder for logs and request bodies, and the environment of the Python peers. */
export interface Context {
  dir: string;
  file(name: string, content: string): string;
  python(): Promise<PythonPeers>;
  close(): void;
}

export interface PythonPeers {
  python: string;
  /** Folder with the joblib files of the example's models. */
  joblib: string;
}

export function openContext(): Context {
  const dir = mkdtempSync(join(tmpdir(), 'levada-bench-'));
  let peers: Promise<PythonPeers> | undefined;
  return {
    dir,
    file(name, content) {
      const path = join(dir, name);
      writeFileSync(path, content);
      return path;
    },
    python() {
      peers ??= preparePython(join(dir, 'joblib'));
      return peers;
    },
    close: () => rmSync(dir, { recursive: true, force: true }),
  };
}

async function preparePython(joblib: string): Promise<PythonPeers> {
  const onProgress = (line: string) => console.error(line);
  const python = await ensurePython('fastapi', { onProgress });
  await exportIris({ joblib, onProgress });
  return { python, joblib };
}
