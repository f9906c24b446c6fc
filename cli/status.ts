import { Command, Option } from 'commander';
import { namespacedName } from '../api/contract/names.ts';
import type { StepStatus } from '../api/v1alpha1/event-pipeline.ts';
import type { ModelDeployment } from '../api/v1alpha1/model-deployment.ts';
import type { Resource } from '../api/v1alpha1/resource.ts';
import { type ClusterFlags, foundResources, isCluster, withClusterFlags } from './cluster.ts';
import { findResource } from './get.ts';
import { askRun } from './local-run.ts';
import { exitCodes, print, printJson } from './output.ts';
import { formatGates, rolloutSentence } from './rollout/picture.ts';
import { formatAge, formatTable } from './table.ts';
import type { LiveStep, LocalResource } from './up/admin.ts';

interface Flags extends ClusterFlags {
  readonly output: 'text' | 'json';
}

export function statusCommand(): Command {
  return withClusterFlags(new Command('status'))
    .summary('show one resource in full')
    .description(
      'Shows conditions, versions or steps, and addresses of a resource that `levada up` runs from this folder, or of one of a cluster.',
    )
    .argument('<name>', 'name of the resource')
    .addOption(new Option('-o, --output <format>', 'how to print').choices(['text', 'json']).default('text'))
    .addHelpText(
      'after',
      `
Example:
  levada status iris
  levada status orders -o json | jq '.live[] | {name, waiting, dead}'

Exit codes: 0 it is ready, 1 it is not, or nothing of that name runs, 2 wrong usage.`,
    )
    .action(async (name: string, { output, ...flags }: Flags) => {
      const found = findResource(await foundResources(flags), name);
      const ready = found.resource.status?.conditions.find(({ type }) => type === 'Ready');
      const isLive = found.resource.kind === 'EventPipeline' && !isCluster(flags);
      const live = isLive ? await liveSteps(found.resource) : undefined;
      if (output === 'json') printJson({ ...found.resource.status, ...(live && { live }) });
      else printText(found, live);
      process.exitCode = ready?.status === 'True' ? exitCodes.ok : exitCodes.no;
    });
}

const liveSteps = ({ metadata }: Resource): Promise<LiveStep[]> =>
  askRun<LiveStep[]>('/steps', { pipeline: namespacedName(metadata) });

function printText({ resource, services, admin }: LocalResource, live: readonly LiveStep[] | undefined): void {
  const { metadata, status } = resource;
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
  if (resource.kind === 'ModelDeployment') {
    printVersions(resource, now);
    printRollout(resource);
  } else print(`\n${live ? stepTable(live) : statusTable(resource.status?.steps ?? [])}`);
  print(`\n${formatTable(['SERVICE', 'URL'], Object.entries(services))}`);
  const metrics = Object.entries(admin).flatMap(([unit, urls]) => urls.map((url) => [unit, `${url}/metrics`]));
  if (metrics.length > 0) print(`\n${formatTable(['PROCESS', 'METRICS'], metrics)}`);
}

function printVersions({ spec, status }: ModelDeployment, now: Date): void {
  print(`\n${formatTable(['VERSION', 'STATE', 'READY', 'DIGEST', 'URI'], versionRows({ spec, status }))}`);
  for (const { name, lastFailure } of status?.versions ?? []) {
    if (lastFailure)
      print(`\n${name}: ${lastFailure.reason} (${formatAge(lastFailure.time, now)} ago): ${lastFailure.message}`);
  }
}

/** `levada rollout` has all of it. */
function printRollout(resource: ModelDeployment): void {
  const { rollout } = resource.status ?? {};
  if (rollout?.candidate === undefined) return;
  print(`\nrollout: ${rolloutSentence(resource)}`);
  for (const gates of formatGates(rollout)) print(`\n${gates}`);
}

function stepTable(live: readonly LiveStep[]): string {
  const header = ['STEP', 'RATE', 'BACKLOG', 'IN FLIGHT', 'DEAD', 'DONE', 'SKIPPED', 'RETRIED', 'BREAKER', 'MESSAGE'];
  const rows = live.map((step) => [
    step.name,
    `${(step.counts?.rate ?? 0).toFixed(1)}/s`,
    ...[step.waiting, step.inFlight, step.dead].map(String),
    ...[step.counts?.done, step.counts?.skipped, step.counts?.retried].map((count) => String(count ?? 0)),
    step.breaker,
    step.message ?? '',
  ]);
  return formatTable(header, rows);
}

/** As the operator has said last. */
const statusTable = (steps: readonly StepStatus[]): string =>
  formatTable(
    ['STEP', 'STATE', 'BACKLOG', 'DEAD', 'BREAKER', 'MESSAGE'],
    steps.map(({ name, state, backlog, deadLetters, breaker, message = '' }) => [
      name,
      state,
      String(backlog),
      String(deadLetters),
      breaker,
      message,
    ]),
  );

const versionRows = ({ spec, status }: Pick<ModelDeployment, 'spec' | 'status'>): string[][] =>
  spec.versions.map(({ name, uri }) => {
    const version = status?.versions.find((entry) => entry.name === name);
    const digest = version?.resolved?.digest.slice(0, 'sha256:'.length + 12) ?? '';
    return [name, version?.state ?? 'Pending', String(version?.ready ?? 0), digest, uri];
  });
