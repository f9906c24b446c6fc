import { Command, Option } from 'commander';
import { LevadaError } from '../api/errors.ts';
import { show } from '../api/rules.ts';
import { kinds } from '../api/v1alpha1/resource.ts';
import { type ClusterFlags, foundResources, withClusterFlags } from './cluster.ts';
import { print, printJson, toYaml } from './output.ts';
import { formatResources } from './rows.ts';
import type { LocalResource } from './up/admin.ts';

interface Flags extends ClusterFlags {
  output: 'table' | 'wide' | 'json' | 'yaml';
}

export function getCommand(): Command {
  return withClusterFlags(new Command('get'))
    .summary('list what runs')
    .description('Lists the resources that `levada up` runs from this folder, or those of a cluster.')
    .argument('[name]', 'only this resource: orders, or eventpipeline/orders where two kinds share a name')
    .addOption(
      new Option('-o, --output <format>', 'how to print').choices(['table', 'wide', 'json', 'yaml']).default('table'),
    )
    .addHelpText(
      'after',
      `
Example:
  levada get
  levada get iris -o json | jq -r .services.iris
  levada get --context staging -n shop

Exit codes: 0 printed, 1 nothing runs or nothing has that name, 2 wrong usage.`,
    )
    .action(async (name: string | undefined, { output, ...flags }: Flags) => {
      const all = await foundResources(flags);
      const found = name === undefined ? all : [findResource(all, name)];
      if (output === 'json' || output === 'yaml') {
        const [first] = found;
        const value = name !== undefined && first ? first : { items: found };
        if (output === 'json') printJson(flat(value));
        else print(toYaml([flat(value)]).trimEnd());
        return;
      }
      const resources = found.map(({ resource }) => resource);
      print(formatResources(resources, output === 'wide', new Date()) || 'nothing runs');
    });
}

/**
 * @param name of the resource, or `kind/name`
 * @throws LevadaError UnknownResource, Usage when several have the name
 */
export function findResource(all: readonly LocalResource[], name: string): LocalResource {
  const fullName = ({ resource }: LocalResource) => `${kinds[resource.kind].crd.singular}/${resource.metadata.name}`;
  const found = all.filter((entry) => [entry.resource.metadata.name, fullName(entry)].includes(name));
  if (found.length > 1) {
    throw new LevadaError('Usage', {
      detail: `several resources have the name ${name}: ${found.map(fullName).join(', ')}`,
    });
  }
  if (found[0]) return found[0];
  const allowed = all.map(({ resource }) => resource.metadata.name).join(', ') || 'none runs';
  throw new LevadaError('UnknownResource', { found: show(name), allowed });
}

/** The resource as kubectl prints it, with the local addresses beside it. */
export function flat(value: LocalResource | { items: LocalResource[] }): object {
  if ('items' in value) return { items: value.items.map(flat) };
  const { resource, services, admin } = value;
  return { ...resource, services, admin };
}
