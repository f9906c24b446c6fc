/**
 * Whether everything in `wanted` is so in `found`, which holds more: defaults, status, what others own. Then there is
 * nothing to apply. Lists are compared whole, entry by entry; quantities by their value, which the API server writes in
 * its own way.
 */
export function isApplied(wanted: unknown, found: unknown, key = ''): boolean {
  if (Array.isArray(wanted)) {
    if (!Array.isArray(found) || found.length !== wanted.length) return false;
    return wanted.every((entry, index) => isApplied(entry, found[index]));
  }
  if (typeof wanted === 'object' && wanted !== null) {
    if (typeof found !== 'object' || found === null) return Object.keys(wanted).length === 0;
    // It is one value, whoever writes it: one label more, and it leads to nobody.
    if (key === 'selector' && Object.keys(found).length !== Object.keys(wanted).length) return false;
    return Object.entries(wanted).every(
      ([name, value]) =>
        value === undefined ||
        (key === 'requests' || key === 'limits'
          ? quantity(value) === quantity((found as Record<string, unknown>)[name])
          : isApplied(value, (found as Record<string, unknown>)[name], name)),
    );
  }
  return wanted === found;
}

const suffixes: Readonly<Record<string, number>> = {
  ...{ m: 1e-3, '': 1, k: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15 },
  ...{ Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30, Ti: 2 ** 40, Pi: 2 ** 50 },
};

/** The value of a quantity; anything else as it is. https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity */
function quantity(value: unknown): unknown {
  const [, number, suffix = ''] = /^([0-9.]+)([A-Za-z]*)$/.exec(String(value)) ?? [];
  const factor = suffixes[suffix];
  return number === undefined || factor === undefined ? value : Number((Number(number) * factor).toPrecision(12));
}
