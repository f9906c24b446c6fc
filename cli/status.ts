import { Command, Option } from 'commander';
import type { ModelDeployment } from '../api/v1alpha1/model-deployment.ts';
import { findResource } from './get.ts';
import { localResources } from './local-run.ts';
import { exitCodes, print, printJson } from './output.ts';
import { formatAge, formatTable } from './table.ts';
import type { LocalResource } from './up/admin.ts';

export function statusCommand(): Command {
  return new Command('status')
    .summary('show one resource in full')
    .description('Shows conditions, versions and addresses of a resource that `levada up` runs from this folder.')
    .argument('<name>', 'name of the resource')
    .addOption(new Option('-o, --output <format>', 'how to print').choices(['text', 'json']).default('text'))
    .addHelpText(
      'after',
      `
Example:
  levada status iris

Exit codes: 0 it is ready, 1 it is not, or nothing of that name runs, 2 wrong usage.`,
    )
    .action(async (name: string, { output }: { output: 'text' | 'json' }) => {
      const found = findResource(await localResources(), name);
      const ready = found.resource.status?.conditions.find(({ type }) => type === 'Ready');
      if (output === 'json') printJson(found.resource.status ?? {});
      else printText(found);
      process.exitCode = ready?.status === 'True' ? exitCodes.ok : exitCodes.no;
    });
}

function printText({ resource, services, admin }: LocalResource): void {
  const { metadata, spec, status } = resource;
  const now = new Date();
  print(`${resource.kind} ${metadata.name}\n`);
  const conditions = (status?.conditions ?? []).map((c) => [
    c.type,
    c.status,
    formatAge(c.lastTransitionTime, now),
    c.reason,
    c.message,
  ]);
  print(formatTable(['CONDITION', 'STATUS', 'SINCE', 'REASON', 'MESSAGE'], conditions));
  print(`\n${formatTable(['VERSION', 'STATE', 'READY', 'DIGEST', 'URI'], versionRows({ spec, status }))}`);
  for (const { name, lastFailure } of status?.versions ?? []) {
    if (lastFailure)
      print(`\n${name}: ${lastFailure.reason} (${formatAge(lastFailure.time, now)} ago): ${lastFailure.message}`);
  }
  print(`\n${formatTable(['SERVICE', 'URL'], Object.entries(services))}`);
  const metrics = Object.entries(admin).flatMap(([unit, urls]) => urls.map((url) => [unit, `${url}/metrics`]));
  if (metrics.length > 0) print(`\n${formatTable(['PROCESS', 'METRICS'], metrics)}`);
}

const versionRows = ({ spec, status }: Pick<ModelDeployment, 'spec' | 'status'>): string[][] =>
  spec.versions.map(({ name, uri }) => {
    const version = status?.versions.find((entry) => entry.name === name);
    const digest = version?.resolved?.digest.slice(0, 'sha256:'.length + 12) ?? '';
    return [name, version?.state ?? 'Pending', String(version?.ready ?? 0), digest, uri];
  });
