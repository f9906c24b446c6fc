import { Command, Option } from 'commander';
import { routingName } from '../api/contract/names.ts';
import type { Resource } from '../api/v1alpha1/resource.ts';
import { freshPlacement } from '../brokers/rabbitmq/known.ts';
import type { KubernetesObject } from '../operator/objects/metadata.ts';
import { renderPipeline, secretOf } from '../operator/objects/pipeline/render.ts';
import { podTemplateProblems } from '../operator/objects/pod-templates.ts';
import { renderObjects } from '../operator/objects/render.ts';
import { planModel } from '../operator/plan/model/plan.ts';
import { checkOnCluster } from '../operator/plan/pipeline/check.ts';
import { planParts } from '../operator/plan/pipeline/parts.ts';
import { nothing, nothingObserved, type UnitPlan } from '../operator/plan/units.ts';
import { type FileProblem, type Loaded, loadPaths } from '../operator/source/load.ts';
import packageJson from '../package.json' with { type: 'json' };
import { exitCodes, print, printJson, printNote, problemLine, summaryOf, toYaml } from './output.ts';

interface Options {
  image: string;
  output: 'yaml' | 'json';
}

export function planCommand(): Command {
  return new Command('plan')
    .summary('print what the operator would apply, offline')
    .description('Prints the Kubernetes objects that the operator makes of new resources. Needs no cluster.')
    .argument('<path...>', 'files or folders with resources')
    .option('--image <image>', 'image of every pod of the runtime', `levada:${packageJson.version}`)
    .addOption(new Option('-o, --output <format>', 'how to print').choices(['yaml', 'json']).default('yaml'))
    .addHelpText(
      'after',
      `
Example:
  levada plan examples/iris
  levada plan examples/iris | kubectl diff -f -

Of an EventPipeline, names of queues are those of a broker that has nothing of it so far and takes no policies.

Exit codes: 0 printed, 1 there are problems (as levada validate prints them, on stderr), 2 wrong usage.`,
    )
    .action(async (paths: string[], options: Options) => {
      const loaded = await loadPaths(paths);
      for (const note of loaded.notes) printNote(note);
      const problems = [...loaded.problems, ...loaded.resources.flatMap(templateProblems)];
      if (problems.length > 0) return refuse(problems);
      const items = loaded.resources.flatMap(({ resource }) => objectsOf(resource, options.image));
      if (options.output === 'json') printJson({ apiVersion: 'v1', kind: 'List', items });
      else print(toYaml(items).trimEnd());
    });
}

/** What is wrong with an overlay, at its place in its file. */
export function templateProblems({ resource, file, locate }: Loaded['resources'][number]): FileProblem[] {
  return podTemplateProblems(resource, planNew(resource)).map((problem) => ({ ...problem, file, ...locate(problem) }));
}

/** Nothing goes to stdout: whoever pipes the objects on must not get some of them. */
function refuse(problems: Loaded['problems']): void {
  for (const entry of problems) printNote(problemLine(entry));
  printNote(summaryOf(problems));
  process.exitCode = exitCodes.no;
}

function objectsOf(resource: Resource, image: string): KubernetesObject[] {
  if (resource.kind === 'ModelDeployment') {
    const plan = planNew(resource);
    const { name } = resource.metadata;
    if (plan.routing)
      printNote(`ModelDeployment ${name}: without the ConfigMap ${routingName(name)}, which the operator signs`);
    return renderObjects(resource, plan, { image });
  }
  const problems = checkOnCluster(resource);
  const name = `EventPipeline ${resource.metadata.name}`;
  for (const { path, message } of problems) printNote(`${name}: ${path}: ${message}`);
  if (problems.length > 0) {
    printNote(`${name}: left out; a cluster would not accept it`);
    return [];
  }
  const plan = planParts(resource);
  const secret = secretOf(plan);
  if (!plan.broker) printNote(`${name}: without the Secret ${secret}, a copy of that of the operator's own broker`);
  return renderPipeline(resource, plan, { image, placement: freshPlacement(plan.topology) });
}

/** What a first reconciliation makes, with nothing there yet. */
export function planNew(resource: Resource): UnitPlan {
  if (resource.kind === 'EventPipeline') return { ...nothing, pipeline: planParts(resource) };
  const now = new Date().toISOString(); // goes to the status only, which nobody sees
  const { status: _, ...wanted } = planModel({ ...resource, status: undefined }, nothingObserved, now);
  return wanted;
}
