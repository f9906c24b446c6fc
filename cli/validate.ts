import { Command, Option } from 'commander';
import { namespacedName } from '../api/contract/names.ts';
import { errors, LevadaError } from '../api/errors.ts';
import { neighboursIn } from '../operator/plan/neighbours.ts';
import { checkPipeline } from '../operator/plan/pipeline/check.ts';
import { type FileProblem, type Loaded, loadPaths } from '../operator/source/load.ts';
import { askCluster, type ClusterFlags, isCluster, withClusterFlags } from './cluster.ts';
import { counted, exitCodes, print, printJson, printNote, problemLine, summaryOf } from './output.ts';
import { templateProblems } from './plan.ts';

interface Flags extends ClusterFlags {
  readonly output: 'text' | 'json';
  readonly server: boolean;
}

export function validateCommand(): Command {
  return withClusterFlags(new Command('validate'))
    .summary('check resources, offline')
    .description('Checks YAML and JSON files, or folders of them, and prints every error at once. Needs no cluster.')
    .option(
      '--server',
      'ask the API server of a cluster as well, which stores nothing: --context or --kubeconfig',
      false,
    )
    .argument('<path...>', 'files or folders with resources')
    .addOption(new Option('-o, --output <format>', 'how to print').choices(['text', 'json']).default('text'))
    .addHelpText(
      'after',
      `
Example:
  levada validate examples/iris
  levada validate examples/iris --server --context staging
  levada validate -o json resources/ | jq '.problems[].message'

Exit codes: 0 everything is valid, 1 there are problems, 2 wrong usage.`,
    )
    .action(async (paths: string[], { output, server, ...flags }: Flags) => {
      if (!server && (isCluster(flags) || flags.namespace !== undefined)) {
        throw new LevadaError('Usage', { detail: '--context, --kubeconfig and --namespace are for --server' });
      }
      const offline = withReferences(await loadPaths(paths));
      const loaded = server ? await withServer(offline, flags) : offline;
      if (output === 'json') printJson(machineForm(loaded));
      else printText(loaded);
      process.exitCode = loaded.problems.length > 0 ? exitCodes.no : exitCodes.ok;
    });
}

/** With what the API server says of what is valid by itself. */
async function withServer(loaded: Loaded, flags: ClusterFlags): Promise<Loaded> {
  const { problems, notes } = await (await askCluster()).refusedByServer(flags, loaded);
  return { ...loaded, problems: [...loaded.problems, ...problems], notes: [...loaded.notes, ...notes] };
}

/**
 * `loaded` with what is wrong between fields and resources: on a cluster `Accepted=False` says it. What is not there may
 * be applied from elsewhere: that is a note.
 */
function withReferences(loaded: Loaded): Loaded {
  const resources = loaded.resources.map(({ resource }) => resource);
  const found = loaded.resources.flatMap(({ resource, file, locate }): FileProblem[] => {
    if (resource.kind !== 'EventPipeline') return [];
    const neighbours = neighboursIn(resource.metadata.namespace ?? 'default', resources);
    return checkPipeline(resource, neighbours)
      .map((problem) => ({ ...problem, file, ...locate(problem) }))
      .sort((a, b) => a.line - b.line || a.column - b.column);
  });
  const isMissing = ({ code }: FileProblem) => errors[code].outcome === 'wait';
  return {
    ...loaded,
    problems: [
      ...loaded.problems,
      ...loaded.resources.flatMap(templateProblems),
      ...found.filter((problem) => !isMissing(problem)),
    ],
    notes: [...loaded.notes, ...found.filter(isMissing).map((problem) => `note: ${problemLine(problem)}`)],
  };
}

function printText({ resources, problems, notes }: Loaded): void {
  for (const note of notes) printNote(note);
  for (const entry of problems) print(problemLine(entry));
  if (problems.length > 0) print(summaryOf(problems));
  else print(`${counted(resources.length, 'resource')} ${resources.length === 1 ? 'is' : 'are'} valid`);
}

const machineForm = ({ resources, problems, notes }: Loaded) => ({
  valid: problems.length === 0,
  resources: resources.map(({ resource, file, line }) => {
    return { kind: resource.kind, name: namespacedName(resource.metadata), file, line };
  }),
  problems: problems.map(({ file, line, column, path, code, message }) => {
    return { file, line, column, path, code, message };
  }),
  notes,
});
