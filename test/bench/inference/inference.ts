import { judge } from '../bars.ts';
import type { Benchmark } from '../benchmark.ts';
import { select } from '../options.ts';
import { serverNames } from '../servers.ts';
import { checkAnswers } from './answers.ts';
import { type InferenceResults, inferenceBars } from './bars.ts';
import { coldStartTable, measureColdStarts } from './cold-start.ts';
import { measureSlowModel, slowModelDoubts, slowModelProblems, slowModelTable } from './slow-model.ts';
import { measureThroughput, throughputProblems, throughputTable } from './throughput.ts';

const parts = ['answers', 'throughput', 'slow-model', 'cold-start'] as const;

export const inference: Benchmark = {
  summary: 'model serving over HTTP, beside a bare echo and what people use today',
  async run(context, options) {
    const [chosen, names] = select(options.only, parts, serverNames);
    const problems: string[] = [];
    const results: InferenceResults = { throughput: [], coldStarts: [] };
    // A part that fails makes the run invalid, and leaves what the others measure.
    const attempt = async (part: (typeof parts)[number], measure: () => Promise<void>) => {
      if (!chosen.includes(part)) return;
      await measure().catch((error: unknown) => {
        problems.push(`${part}: ${error instanceof Error ? error.message : String(error)}`);
      });
    };
    await attempt('answers', async () => {
      problems.push(...(await checkAnswers(context, names)));
    });
    await attempt('throughput', () => measureThroughput(context, options, names, results.throughput));
    await attempt('slow-model', async () => {
      results.slowModel = await measureSlowModel(context, options);
    });
    await attempt('cold-start', () => measureColdStarts(context, options, names, results.coldStarts));
    const { throughput, slowModel, coldStarts } = results;
    const doubts = throughputProblems(throughput);
    return {
      results,
      tables: [
        ...(throughput.length > 0 ? [`### Throughput\n\n${throughputTable(throughput)}`] : []),
        ...(slowModel ? [`### Health under a slow model\n\n${slowModelTable(slowModel)}`] : []),
        ...(coldStarts.length > 0 ? [`### Cold start\n\n${coldStartTable(coldStarts)}`] : []),
      ],
      verdicts: judge(inferenceBars, results),
      problems: [...problems, ...doubts.problems, ...(slowModel ? slowModelProblems(slowModel) : [])],
      doubts: [...doubts.doubts, ...(slowModel ? slowModelDoubts(slowModel) : [])],
    };
  },
};
