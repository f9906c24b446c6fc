import type { Context } from '../context.ts';
import { bodies, type ModelName, modelNames, rightAnswer, rows } from '../iris.ts';
import { serverCore } from '../process.ts';
import { type ServerName, servers, startServer } from '../servers.ts';

/** Asks every model server for all rows before anything is timed: a quick wrong answer is worth nothing. */
export async function checkAnswers(context: Context, names: readonly ServerName[]): Promise<string[]> {
  const problems: string[] = [];
  for (const name of names.filter((name) => !servers[name].echo)) {
    for (const model of modelNames) {
      const wrong = await wrongAnswers(context, name, model);
      const total = rows.length;
      console.error(`answers  ${name} ${model}: ${total - wrong.length} of ${total} right`);
      if (wrong.length > 0) problems.push(`${name} ${model}: ${wrong.length} wrong answers, first: ${wrong[0]}`);
    }
  }
  return problems;
}

async function wrongAnswers(context: Context, name: ServerName, model: ModelName): Promise<string[]> {
  const { protocol } = servers[name];
  const server = await startServer(context, name, model, serverCore);
  const url = server.url + (protocol === 'oip' ? '/v2/models/iris/infer' : '/predict');
  const wrong: string[] = [];
  try {
    for (const [index, body] of (await bodies(protocol)).entries()) {
      const response = await fetch(url, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body,
        signal: AbortSignal.timeout(10_000),
      });
      const text = await response.text();
      if (response.status !== 200 || !rightAnswer(protocol, model, index, text)) {
        wrong.push(`row ${index}: ${response.status} ${text.slice(0, 300)}`);
      }
    }
  } finally {
    await server.stop();
  }
  return wrong;
}
