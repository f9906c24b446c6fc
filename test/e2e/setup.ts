/** A cluster with the operator that the chart installs and the images of this clone, for all files *.e2e.test.ts. */
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { clusterHere, missingCluster, missingHelm } from '../../hack/cluster.ts';
import { clientImage } from '../../hack/image/client.ts';
import { buildImage } from '../../hack/image/image.ts';
import { levadaImage } from '../../hack/image/levada.ts';
import { images } from '../../hack/image.ts';
import { helmed, imageVersion } from '../support/e2e.ts';
import { root } from '../support/up.ts';

const log = (text: string) => process.stderr.write(`e2e: ${text}\n`);

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const missing = (await missingCluster()) ?? missingHelm();
  // Whoever gets here has asked for it, or is CI, where nothing is left out.
  if (missing !== undefined) throw new Error(missing);
  const cluster = await clusterHere();
  const isNew = await cluster.up(log);
  const { kubeconfig } = cluster;
  const end = async () => {
    if (isNew) await cluster.down();
    else await helmed(kubeconfig, 'uninstall', 'levada', '--wait', '--ignore-not-found');
  };
  let installSeconds: number;
  try {
    if (!isNew) await helmed(kubeconfig, 'uninstall', 'levada', '--wait', '--ignore-not-found'); // of a run that was killed
    const wanted = process.env['LEVADA_E2E'] === 'all' ? images : [levadaImage, clientImage];
    for (const image of wanted) {
      const { tag, path, bytes } = await buildImage(image, imageVersion);
      await cluster.load(path);
      log(`${tag}, ${(bytes / 1e6).toFixed(0)} MB, is on the node`);
    }
    const began = performance.now();
    const values = [`image.tag=${imageVersion}`, 'crds.keep=false'].flatMap((value) => ['--set', value]);
    await helmed(
      kubeconfig,
      'install',
      'levada',
      join(root, 'charts/levada'),
      '--create-namespace',
      '--wait',
      ...values,
    );
    installSeconds = (performance.now() - began) / 1000;
    log(`the operator is ready ${installSeconds.toFixed(1)} s after helm install`);
  } catch (error) {
    await end();
    throw error;
  }
  project.provide('e2e', { kubeconfig, installSeconds });
  return end;
}
