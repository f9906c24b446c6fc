import { Command, Option } from 'commander';
import { resourceKey } from '../api/contract/names.ts';
import { type Loaded, loadPaths } from '../operator/source/load.ts';
import { counted, exitCodes, print, printJson, printNote, problemLine, summaryOf } from './output.ts';

export function validateCommand(): Command {
  return new Command('validate')
    .summary('check resources, offline')
    .description('Checks YAML and JSON files, or folders of them, and prints every error at once. Needs no cluster.')
    .argument('<path...>', 'files or folders with resources')
    .addOption(new Option('-o, --output <format>', 'how to print').choices(['text', 'json']).default('text'))
    .addHelpText(
      'after',
      `
Example:
  levada validate examples/iris
  levada validate -o json resources/ | jq '.problems[].message'

Exit codes: 0 everything is valid, 1 there are problems, 2 wrong usage.`,
    )
    .action(async (paths: string[], { output }: { output: 'text' | 'json' }) => {
      const loaded = await loadPaths(paths);
      if (output === 'json') printJson(machineForm(loaded));
      else printText(loaded);
      process.exitCode = loaded.problems.length > 0 ? exitCodes.no : exitCodes.ok;
    });
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
    return { kind: resource.kind, name: resourceKey(resource.metadata), file, line };
  }),
  problems: problems.map(({ file, line, column, path, code, message }) => {
    return { file, line, column, path, code, message };
  }),
  notes,
});
