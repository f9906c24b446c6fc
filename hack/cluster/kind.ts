/** A cluster by kind, for contributors who have Docker; not run on the machines that Levada is made on. */
import { execFile } from 'node:child_process';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { Cluster } from './cluster.ts';
import { cutArgs } from './components.ts';
import { cache, kubectlProgram } from './programs.ts';

const run = promisify(execFile);
const name = 'levada';
const folder = join(cache, 'kind');

export const hasKind = (): Promise<boolean> =>
  Promise.all([run('docker', ['info']), run('kind', ['version'])]).then(
    () => true,
    () => false,
  );

export class KindCluster implements Cluster {
  readonly kubeconfig = join(folder, 'kubeconfig');

  async up(log: (text: string) => void): Promise<boolean> {
    await mkdir(folder, { recursive: true });
    const { stdout } = await run('kind', ['get', 'clusters']);
    const isThere = stdout.split('\n').includes(name);
    const command = isThere ? ['export', 'kubeconfig'] : ['create', 'cluster', '--wait', '2m'];
    log(`kind ${command.join(' ')}`);
    await run('kind', [...command, '--name', name, '--kubeconfig', this.kubeconfig]);
    return !isThere;
  }

  async down(): Promise<void> {
    await run('kind', ['delete', 'cluster', '--name', name, '--kubeconfig', this.kubeconfig]);
    await rm(folder, { recursive: true, force: true });
  }

  async load(archive: string): Promise<void> {
    await run('kind', ['load', 'image-archive', archive, '--name', name]);
  }

  async restartServer(): Promise<void> {
    const running = async () => (await onNode('crictl', 'ps', '-q', '--name', 'kube-apiserver')).trim();
    const before = await running();
    await onNode('crictl', 'stop', before); // kubelet starts another one
    const deadline = performance.now() + 120_000;
    const ready = ['--kubeconfig', this.kubeconfig, 'get', '--raw', '/readyz'];
    for (;;) {
      try {
        if ((await running()) === before) throw new Error('it has not ended');
        await run(await kubectlProgram(), ready, { timeout: 30_000 });
        return;
      } catch (error) {
        if (performance.now() > deadline) throw error;
        await pause(500);
      }
    }
  }

  async cut(address: string): Promise<number> {
    const killed = await onNode('ss', ...cutArgs(address));
    return killed.split('\n').filter((line) => line !== '').length;
  }
}

/** What a program prints on its only node. */
const onNode = async (...command: string[]): Promise<string> =>
  (await run('docker', ['exec', `${name}-control-plane`, ...command])).stdout;
