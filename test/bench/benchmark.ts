import type { Verdict } from './bars.ts';
import type { Context } from './context.ts';
import type { Options } from './options.ts';

export interface Report {
  /** Everything that was measured; goes into the file. */
  results: object;
  /** Markdown. */
  tables: string[];
  verdicts: Verdict[];
  /** Any of these makes the run invalid. */
  problems: string[];
  /** Reasons to distrust figures. */
  doubts: string[];
}

export interface Benchmark {
  summary: string;
  /** @throws UsageError before anything is started, when the options name what it does not have */
  run(context: Context, options: Options): Promise<Report>;
}
