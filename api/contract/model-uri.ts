/** Where volumes of claims are in a pod: `/mnt/claims/CLAIM`. */
const claimsFolder = '/mnt/claims';

/** Characters of a path: percent-encoded ones only where they can be decoded, and none that makes another path of it. */
const path = String.raw`\/([^?#%]|%(0[1-9A-Fa-f]|2[0-9A-Ea-e]|[13-7][0-9A-Fa-f]))+`;
const claim = '[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*';

/** `file:///PATH` inside the pod, or `pvc://CLAIM/PATH` in a PersistentVolumeClaim. */
export const modelUriPattern = new RegExp(String.raw`^(file:\/\/|pvc:\/\/${claim})${path}$`);

export const claimMount = (name: string): string => `${claimsFolder}/${name}`;

/** Path inside the pod, with percent-encoding undone and `..` resolved, and the claim that has to be mounted for it. */
export function placeOf(uri: string): { readonly path: string; readonly claim?: string } {
  const { protocol, host, pathname } = new URL(uri);
  const decoded = decodeURIComponent(pathname);
  return protocol === 'pvc:' ? { path: claimMount(host) + decoded, claim: host } : { path: decoded };
}
