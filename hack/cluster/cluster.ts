/** A cluster to try things on. */
export interface Cluster {
  /** Path of a kubeconfig of its administrator. */
  readonly kubeconfig: string;
  /** Starts it, unless it runs; ready when the promise resolves. @returns whether it was started */
  up(log: (text: string) => void): Promise<boolean>;
  /** Ends what `up` has started, and removes what that has stored. */
  down(): Promise<void>;
  /** Brings an image onto its node. @param archive as `docker save` writes them */
  load(archive: string): Promise<void>;
  /** Ends its API server, and starts it again as it was; ready when the promise resolves. */
  restartServer(): Promise<void>;
  /** Resets all connections of a pod to the API server. @param address of the pod @returns how many there were */
  cut(address: string): Promise<number>;
}
