import { Command } from 'commander';
import { checkCommand } from './model/check.ts';
import { convertCommand } from './model/convert.ts';
import { inspectCommand } from './model/inspect.ts';

export function modelCommand(): Command {
  const model = new Command('model')
    .summary('inspect, check and convert model files')
    .description('Works on model files, offline.');
  for (const command of [inspectCommand, checkCommand, convertCommand]) model.addCommand(command());
  return model;
}
