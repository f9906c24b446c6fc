import { Command, Option } from 'commander';

import { print, printJson, printNote } from '../output.ts';

interface Flags {
  output?: string;
  samples?: string;
  trust: boolean;
  force: boolean;
  format: 'text' | 'json';
}

export function convertCommand(): Command {
  return new Command('convert')
    .summary('make an ONNX file of a scikit-learn pickle')
    .description(
      'Converts a scikit-learn model (.joblib or .pkl) to ONNX with skl2onnx, in a Python environment that it finds or makes,\n' +
        'and writes the file only when both give the same answers. Unpickling runs code from the file: pass --trust if you\n' +
        'made it, or trust who did.',
    )
    .argument('<file>', 'a .joblib or .pkl file')
    .option('--output <file>', 'where the ONNX file goes (default: beside FILE, with the ending .onnx)')
    .option(
      '--samples <file>',
      'CSV with a header line: rows to compare the answers on, and to tell columns of text from numbers',
    )
    .option('--trust', 'unpickle the file', false)
    .option('--force', 'replace the output file', false)
    .addOption(new Option('--format <format>', 'how to print').choices(['text', 'json']).default('text'))
    .addHelpText(
      'after',
      `
Example:
  levada model convert iris_classifier.joblib --trust --output models/iris/1/model.onnx

Exit codes: 0 written, 1 it cannot be converted or the answers differ (nothing is written), 2 wrong usage.`,
    )
    .action(async (file: string, { output, samples, trust, force, format }: Flags) => {
      const { convertModel } = await import('../convert/convert.ts'); // it needs Python, which no other command does
      const report = await convertModel({
        file,
        output: output ?? file.replace(/(\.(joblib|pkl|pickle|sav))?$/i, '.onnx'),
        ...(samples !== undefined && { samples }),
        trust,
        force,
        onProgress: printNote,
      });
      if (format === 'json') return printJson(report);
      const { output: written, estimator, sha256, rowsCompared, rowsFrom, rowsDiffering, ties, maxAbsDiff } = report;
      print(`${written}: ${estimator}, sha256 ${sha256}`);
      print(
        `${rowsCompared} rows (${rowsFrom}) compared with scikit-learn: ${rowsDiffering} differ, ` +
          `${ties} are ties between two classes, largest difference ${maxAbsDiff}`,
      );
    });
}
