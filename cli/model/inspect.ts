import { Command, Option } from 'commander';
import { LevadaError, messageOf } from '../../api/errors.ts';
import { readArtifact } from '../../runtime/inference/artifact.ts';
import { openSession } from '../../runtime/inference/onnx.ts';
import { type OnnxFile, readOnnxFile } from '../../runtime/inference/onnx-file.ts';
import { showShape, type TensorInfo } from '../../runtime/inference/tensors.ts';
import { print, printJson } from '../output.ts';
import { formatTable } from '../table.ts';

export function inspectCommand(): Command {
  return new Command('inspect')
    .summary('show what an ONNX file holds')
    .description('Shows inputs, outputs, operators and digest of an ONNX file, after ONNX Runtime has loaded it.')
    .argument('<file>', 'an ONNX file, or a folder with model.onnx')
    .addOption(new Option('-o, --output <format>', 'how to print').choices(['text', 'json']).default('text'))
    .addHelpText(
      'after',
      `
Example:
  levada model inspect examples/iris/models/1

Exit codes: 0 it can be served, 1 it cannot, 2 wrong usage.`,
    )
    .action(async (where: string, { output }: { output: 'text' | 'json' }) => {
      const { path, bytes, sha256 } = await readArtifact(where);
      const session = await openSession(bytes, path, 1);
      let file: OnnxFile;
      try {
        file = readOnnxFile(bytes);
      } catch (error) {
        throw new LevadaError('ModelInvalid', { path, detail: messageOf(error) }, { cause: error });
      }
      const { inputs, outputs } = session;
      const found = { path, bytes: bytes.length, sha256, ...file, inputs, outputs };
      if (output === 'json') printJson(found);
      else printText(found);
      await session.close();
    });
}

type Found = OnnxFile & {
  path: string;
  bytes: number;
  sha256: string;
  inputs: readonly TensorInfo[];
  outputs: readonly TensorInfo[];
};

function printText(found: Found): void {
  const list = (record: Record<string, number | string>) =>
    Object.entries(record)
      .map(([name, value]) => `${name} ${value}`)
      .join(', ');
  const rows = [
    ['file', found.path],
    ['size', `${found.bytes} bytes`],
    ['sha256', found.sha256],
    ['producer', found.producer],
    ['IR version', String(found.irVersion)],
    ['operator sets', list(found.opsets)],
    ['operators', list(found.operators)],
    ...Object.entries(found.metadata),
  ].filter(([, value]) => value);
  const width = Math.max(...rows.map(([name]) => (name ?? '').length));
  for (const [name = '', value = ''] of rows) print(`${name.padEnd(width + 2)}${value}`);
  const tensors = (what: string, infos: readonly TensorInfo[]) =>
    infos.map(({ name, datatype, shape }) => [what, name, datatype, showShape(shape)]);
  print(
    `\n${formatTable(['', 'NAME', 'DATATYPE', 'SHAPE'], [...tensors('input', found.inputs), ...tensors('output', found.outputs)])}`,
  );
}
