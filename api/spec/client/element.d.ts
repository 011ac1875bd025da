/** Types of element.js: the custom element `<job-progress>`. */
import type { ConnectionState, Kind, Problem, StateOf, StreamSource, WatchOptions } from "./client.js";

/** The attributes of `<job-progress>`. */
export interface JobProgressAttributes {
  /** "job" by default. */
  kind?: Kind;
  /** The job to watch. Without it, the element shows the property `state`. */
  "job-id"?: string | number;
  "base-url"?: string;
  tenant?: string | number;
  token?: string;
  stream?: StreamSource;
  /** The name of the progress bar for screen readers; "Progress" by default. */
  label?: string;
  /** A property: the state to show, for pages that watch the job themselves. */
  state?: StateOf<Kind> | null;
  /** A property: returns the token. */
  getToken?: () => string | Promise<string>;
  /** A property: more options of `watchJob`. */
  options?: Partial<WatchOptions>;
  onjobstate?: (event: CustomEvent<StateOf<Kind>>) => void;
  onjobend?: (event: CustomEvent<StateOf<Kind>>) => void;
  onjoberror?: (event: CustomEvent<Problem>) => void;
  onjobconnection?: (event: CustomEvent<ConnectionState>) => void;
}

/** The events of `<job-progress>`; they bubble. */
export interface JobProgressEventMap extends HTMLElementEventMap {
  jobstate: CustomEvent<StateOf<Kind>>;
  jobend: CustomEvent<StateOf<Kind>>;
  joberror: CustomEvent<Problem>;
  jobconnection: CustomEvent<ConnectionState>;
}

/**
 * Shows the progress of a job. Parts: `label`, `value`, `line`, `track`, `bar`, `detail`. Custom
 * properties: `--job-progress-color`, `--job-progress-done-color`, `--job-progress-failed-color`,
 * `--job-progress-cancelled-color`, `--job-progress-track-color`, `--job-progress-height`,
 * `--job-progress-radius`. The attribute `phase` is set by the element.
 */
export class JobProgressElement extends HTMLElement {
  kind: Kind;
  jobId: string | null;
  state: StateOf<Kind> | null;
  getToken: (() => string | Promise<string>) | undefined;
  options: Partial<WatchOptions>;
  readonly connectionState: ConnectionState;
  addEventListener<Name extends keyof JobProgressEventMap>(
    type: Name,
    listener: (this: JobProgressElement, event: JobProgressEventMap[Name]) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject,
    options?: boolean | AddEventListenerOptions,
  ): void;
}

/** Define the element under another name, too. The module defines `job-progress`. */
export function defineJobProgress(name?: string): void;

declare global {
  interface HTMLElementTagNameMap {
    "job-progress": JobProgressElement;
  }
}
