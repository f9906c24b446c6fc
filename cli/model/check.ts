import { readFile } from 'node:fs/promises';
import { Command, Option } from 'commander';
import { errorCodeOf, LevadaError, messageOf } from '../../api/errors.ts';
import { member, members } from '../../api/rules.ts';
import { readArtifact } from '../../runtime/inference/artifact.ts';
import { openSession, type Session } from '../../runtime/inference/onnx.ts';
import { parseInfer } from '../../runtime/inference/protocol/oip.ts';
import type { Tensor } from '../../runtime/inference/tensors.ts';
import { counted, exitCodes, print, printJson } from '../output.ts';
import { compareTensors, type Difference, type Tolerance } from './compare.ts';

interface CaseResult {
  readonly name: string;
  readonly rows: number;
  readonly differences: readonly Difference[];
}

export function checkCommand(): Command {
  return new Command('check')
    .summary('compare a model with expected answers')
    .description('Runs an ONNX model on the inputs of a cases file and compares its outputs with those expected there.')
    .argument('<file>', 'an ONNX file, or a folder with model.onnx')
    .requiredOption('--cases <file>', 'JSON file with inputs and expected outputs, as Open Inference Protocol tensors')
    .addOption(new Option('-o, --output <format>', 'how to print').choices(['text', 'json']).default('text'))
    .addHelpText(
      'after',
      `
Example:
  levada model check models/fraud --cases fraud-cases.json

A cases file: {"tolerance": {"absolute": 1e-5, "relative": 0}, "cases": [{"name": "one row",
  "inputs":  [{"name": "X", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}],
  "outputs": [{"name": "label", "shape": [1], "datatype": "INT64", "data": [0]}]}]}

Exit codes: 0 all answers agree, 1 some differ or the model cannot be run, 2 wrong usage.`,
    )
    .action(async (file: string, { cases, output }: { cases: string; output: 'text' | 'json' }) => {
      const { path, bytes } = await readArtifact(file);
      const session = await openSession(bytes, path, 1);
      const results = await checkCases(session, cases);
      await session.close();
      const wrong = results.filter(({ differences }) => differences.length > 0);
      if (output === 'json') printJson({ ok: wrong.length === 0, cases: results });
      else printText(results);
      process.exitCode = wrong.length === 0 ? exitCodes.ok : exitCodes.no;
    });
}

async function checkCases(session: Session, path: string): Promise<CaseResult[]> {
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    throw new LevadaError('CasesInvalid', { path, detail: messageOf(error) }, { cause: error });
  });
  const invalid = (detail: string) => new LevadaError('CasesInvalid', { path, detail });
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch (error) {
    throw invalid(messageOf(error));
  }
  const tolerance = readTolerance(member(body, 'tolerance'), invalid);
  const cases = members(member(body, 'cases'));
  if (cases.length === 0) throw invalid('`cases` is not a list with at least one case');
  const results: CaseResult[] = [];
  for (const [index, entry] of cases.entries()) {
    const name = member(entry, 'name');
    results.push(
      await checkCase(session, entry, typeof name === 'string' ? name : `cases[${index}]`, tolerance, invalid),
    );
  }
  return results;
}

async function checkCase(
  session: Session,
  entry: unknown,
  name: string,
  tolerance: Tolerance,
  invalid: (detail: string) => LevadaError,
): Promise<CaseResult> {
  // The same reading as on the wire: inputs, and the expected outputs as if they were inputs.
  const read = (tensors: unknown, infos: Session['inputs'], what: string) => {
    try {
      return parseInfer(JSON.stringify({ inputs: tensors }), { inputs: infos, outputs: [] });
    } catch (error) {
      if (errorCodeOf(error)) throw invalid(`${name}, ${what}: ${messageOf(error)}`);
      throw error;
    }
  };
  const expectedNames = members(member(entry, 'outputs')).map((tensor) => member(tensor, 'name'));
  const wanted = session.outputs.filter((info) => expectedNames.includes(info.name));
  const { inputs, rows } = read(member(entry, 'inputs'), session.inputs, 'inputs');
  const expected = read(member(entry, 'outputs'), wanted, 'outputs').inputs;
  if (wanted.length === 0) throw invalid(`${name}: no outputs are expected`);
  const { outputs } = await session.run(inputs).catch((error: unknown) => {
    throw new LevadaError('InferenceFailed', { detail: `${name}: ${messageOf(error)}` }, { cause: error });
  });
  const differences = wanted.flatMap((info, i) => {
    const answer = outputs[session.outputs.indexOf(info)] as Tensor;
    return compareTensors(info.name, answer, expected[i] as Tensor, tolerance);
  });
  return { name, rows, differences };
}

function readTolerance(value: unknown, invalid: (detail: string) => LevadaError): Tolerance {
  const read = (name: string, fallback: number) => {
    const found = member(value, name) ?? fallback;
    if (typeof found === 'number' && found >= 0) return found;
    throw invalid(`tolerance.${name} is not a number of at least 0`);
  };
  return { absolute: read('absolute', 1e-5), relative: read('relative', 0) };
}

function printText(results: readonly CaseResult[]): void {
  for (const { name, rows, differences } of results) {
    print(`${differences.length === 0 ? 'ok  ' : 'FAIL'} ${name} (${counted(rows, 'row')})`);
    for (const { output, message } of differences.slice(0, 10)) print(`       ${output}: ${message}`);
    if (differences.length > 10) print(`       … and ${differences.length - 10} more`);
  }
  const wrong = results.filter(({ differences }) => differences.length > 0).length;
  print(
    wrong === 0
      ? `all ${counted(results.length, 'case')} agree`
      : `${counted(wrong, 'case')} of ${results.length} differ`,
  );
}
