import * as z from 'zod';

const version = z.string().min(1);
const weight = z.number().min(0).max(100);
/** As HTTP/2 and Node have them. */
const headerName = z.string().regex(/^[!#$%&'*+\-.^_`|~0-9a-z]+$/, 'a header name in lower case');
const address = z.string().regex(/^tcp:\/\/[^/:[\]]+:\d{1,5}$|^tcp:\/\/\[[0-9a-f:]+\]:\d{1,5}$/, 'tcp://HOST:PORT');
const versionWeight = z.strictObject({ version, weight });

/** What {@link RoutingTable} has to be before it is signed. Pods trust the signature, and check nothing again. */
export const routingTable = z
  .strictObject({
    resource: z.string().regex(/^[^/]+\/[^/]+$/, 'namespace/name'),
    generation: z.int().min(1),
    stable: z.strictObject({ version }),
    candidate: versionWeight.optional(),
    split: z.array(versionWeight).min(2).optional(),
    match: z
      .array(
        z.strictObject({
          header: z.record(headerName, z.string()).refine((names) => Object.keys(names).length > 0, 'at least one'),
          version,
        }),
      )
      .optional(),
    sticky: z.strictObject({ header: headerName }).optional(),
    rollout: z.string().optional(),
    judges: z.array(z.string()).min(1).optional(),
    shadow: z.strictObject({ version, percent: weight }).optional(),
    compare: z.strictObject({ outputs: z.array(z.string()).min(1), percent: weight }).optional(),
    addresses: z.record(version, z.array(address)),
    salt: z.string(),
  })
  .superRefine(({ stable, candidate, split, match = [], shadow, addresses }, context) => {
    const refuse = (path: string, message: string) => context.addIssue({ code: 'custom', path: [path], message });
    if (candidate && split) refuse('split', 'not together with candidate');
    if (candidate?.version === stable.version) refuse('candidate', 'another version than the stable one');
    if (shadow?.version === stable.version) refuse('shadow', 'another version than the stable one');
    if (split) {
      const sum = split.reduce((total, share) => total + share.weight, 0);
      if (Math.abs(sum - 100) > 1e-6) refuse('split', `the weights sum to ${sum}, not to 100`);
      if (new Set(split.map((share) => share.version)).size < split.length) refuse('split', 'each version once');
      if (!split.some((share) => share.version === stable.version)) refuse('split', 'the stable version is missing');
    }
    const named = [candidate, shadow, ...(split ?? []), ...match].flatMap((part) => part?.version ?? []);
    for (const name of new Set(named)) {
      if (name !== stable.version && !Object.hasOwn(addresses, name)) refuse('addresses', `${name} is missing`);
    }
  });
