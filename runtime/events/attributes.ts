/** Context attributes of a CloudEvent 1.0, however they came. */
export interface Attributes {
  readonly id: string;
  /** URI reference; with `id` it identifies the event. */
  readonly source: string;
  readonly type: string;
  readonly subject?: string;
  /** RFC 3339. */
  readonly time?: string;
  readonly datacontenttype?: string;
  readonly dataschema?: string;
  /** Extension attributes, `traceparent` and `tracestate` among them: lower-case letters and digits → text. */
  readonly extensions: Readonly<Record<string, string>>;
}

/** What is wrong with an event. The caller knows whose it is, and throws what fits. */
export class EventProblem extends Error {}

const required = ['specversion', 'id', 'source', 'type'] as const;
const optional = ['subject', 'time', 'datacontenttype', 'dataschema'] as const;
type Optional = (typeof optional)[number];
const core: ReadonlySet<string> = new Set([...required, ...optional]);

/** CloudEvents asks for 20; a header of AMQP has room for 255 bytes, with a prefix. */
const longestName = 200;

/** Not characters at all: control characters, halves of pairs, and what Unicode promises never to assign. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const notText = /[\u0000-\u001f\u007f-\u009f\p{Cs}\p{Noncharacter_Code_Point}]/u;

/**
 * @param values by name, as text
 * @param prefix what stands before a name where the sender wrote it: `ce-` of headers
 * @throws EventProblem which names the attribute
 */
export function readAttributes(values: ReadonlyMap<string, string>, prefix: string): Attributes {
  for (const [name, value] of values) {
    if (!/^[a-z0-9]+$/.test(name)) {
      throw new EventProblem(
        `attribute ${JSON.stringify((prefix + name).slice(0, 80))}: a name is lower-case letters and digits`,
      );
    }
    if (name.length > longestName) {
      throw new EventProblem(`attribute ${name.slice(0, 80)}…: a name has ${longestName} characters at most`);
    }
    if (notText.test(value)) throw new EventProblem(`${prefix}${name} has control characters`);
    if (value === '' && core.has(name)) throw new EventProblem(`${prefix}${name} is empty`);
  }
  for (const name of required) if (!values.has(name)) throw new EventProblem(`${prefix}${name} is missing`);
  const version = values.get('specversion');
  if (version !== '1.0') throw new EventProblem(`${prefix}specversion is ${JSON.stringify(version)}; allowed: "1.0"`);
  const time = values.get('time');
  if (time !== undefined && !isTime(time)) {
    throw new EventProblem(`${prefix}time is ${JSON.stringify(time.slice(0, 80))}; allowed: RFC 3339`);
  }
  for (const name of ['source', 'dataschema']) {
    if (/\s/.test(values.get(name) ?? '')) throw new EventProblem(`${prefix}${name} has spaces: it is a URI`);
  }
  const found: Partial<Record<Optional, string>> = {};
  for (const name of optional) {
    const value = values.get(name);
    if (value !== undefined) found[name] = value;
  }
  const text = (name: string) => values.get(name) as string;
  const extensions = Object.fromEntries([...values].filter(([name]) => !core.has(name)));
  return { id: text('id'), source: text('source'), type: text('type'), ...found, extensions };
}

/** Whether text is a time of RFC 3339 that exists. */
export function isTime(text: string): boolean {
  const match = /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.\d{1,18})?(?:Z|[+-](\d\d):(\d\d))$/i.exec(text);
  if (!match) return false;
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0, zoneHour = 0, zoneMinute = 0] = match
    .slice(1)
    .map((part) => Number(part ?? 0));
  // Years before 100 would be taken for those of the last century, whose leap years differ; 2000 years later they agree.
  const date = new Date(Date.UTC(year < 100 ? year + 2000 : year, month - 1, day));
  const exists = date.getUTCMonth() === month - 1 && date.getUTCDate() === day;
  // 60 is a leap second.
  return exists && hour < 24 && minute < 60 && second <= 60 && zoneHour < 24 && zoneMinute < 60;
}
