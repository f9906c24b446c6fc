import type { TestProject } from 'vitest/node';
import { missingControlPlane, startControlPlane } from '../../hack/cluster.ts';

/** Starts an API server for all test files. */
export default async function setup(project: TestProject): Promise<(() => Promise<void>) | undefined> {
  const missing = await missingControlPlane();
  if (missing !== undefined) {
    if (process.env['CI'] === 'true') throw new Error(missing); // in CI nothing is left out
    project.provide('cluster', { missing });
    return undefined;
  }
  const plane = await startControlPlane();
  const { server, ca, admin, nobody, port, kubeconfig } = plane;
  project.provide('cluster', { plane: { server, ca, admin, nobody, port, kubeconfig } });
  return () => plane.remove();
}
