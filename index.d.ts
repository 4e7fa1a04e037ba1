import type {
  ArchivedCheckpoint,
  ArchivedFile,
  BecomeOutcome,
  BrokenEvent,
  CheckpointInfo,
  CleanedRun,
  CleanupOutcome,
  CreateOutcome,
  DamagedCheckpoint,
  DamagedObject,
  DoctorFinding,
  DoctorOutcome,
  DoctorProbe,
  ExportFolderOutcome,
  ExportOutcome,
  ExportSummary,
  FileSystemInfo,
  ForkOutcome,
  GcOutcome,
  GcPlan,
  ImportedCheckpoint,
  ImportOutcome,
  ImportWritten,
  LeaseInfo,
  LeaseStanding,
  LeftRun,
  Listing,
  PruneOutcome as NativePruneOutcome,
  RetentionDecision as NativeRetentionDecision,
  RebuildOutcome,
  RestoreOutcome,
  ShelvedCheckpoint,
  SkippedCheckpoint,
  StoreProblem,
  TouchedPlace,
  VerifiedRun,
  VerifyOutcome,
} from './native.js';

export type {
  ArchivedCheckpoint,
  ArchivedFile,
  BrokenEvent,
  CheckpointInfo,
  CleanedRun,
  CleanupOutcome,
  DamagedCheckpoint,
  DamagedObject,
  DoctorFinding,
  DoctorProbe,
  ExportFolderOutcome,
  ExportOutcome,
  ExportSummary,
  FileSystemInfo,
  GcOutcome,
  GcPlan,
  ImportedCheckpoint,
  ImportOutcome,
  ImportWritten,
  LeaseInfo,
  LeaseStanding,
  LeftRun,
  Listing,
  RebuildOutcome,
  ShelvedCheckpoint,
  SkippedCheckpoint,
  StoreProblem,
  TouchedPlace,
  VerifiedRun,
};

/** A step: its number as given (0, 1, 1.5 …), or its name. */
export type Step = number | string;

/** A JSON object. */
// biome-ignore lint/suspicious/noExplicitAny: what the runner keeps in it is the runner's
export type JsonObject = { [key: string]: any };

/**
 * A checkpoint's manifest, as it lies in `checkpoints/<checkpoint_id>.json`. The members are
 * described in `docs/format.md`.
 */
export interface Checkpoint {
  checkpoint_id: string;
  run_id: string;
  workflow_id: string | null;
  step: Step;
  /** When it was taken, ISO 8601 with milliseconds, UTC. */
  timestamp: string;
  /** `run.json` at the checkpoint. */
  run_record: JsonObject;
  /** `artifact-registry.json` at the checkpoint, before the checkpoint itself was entered. */
  artifact_registry: JsonObject;
  /** What the caller gave. */
  // biome-ignore lint/suspicious/noExplicitAny: what the caller gave, of whatever type
  step_state: any;
  /** The names of all artifacts in the registry. */
  artifacts_at_checkpoint: string[];
  validation_summary: {
    total_artifacts: number;
    validated_artifacts: number;
    failed_validations: number;
  };
  /** Four sentences for a person. */
  recovery_instructions: string[];
  /** The other JSON files at the top of the run's folder; absent in checkpoints of other tools. */
  run_files?: {
    [name: string]: { text: string } | { base64: string } | { skipped: string; size: number };
  };
  /**
   * The members that lie in the store because they are large; in the manifest's file they are `null`,
   * here they are whole. Absent in checkpoints of other tools.
   */
  state_objects?: {
    [member: string]: { object: string; chunked: boolean; bytes: number };
  };
  /** The captured files, `null` if none were captured. Absent in checkpoints of other tools. */
  snapshot?: Snapshot | null;
  /** Absent in checkpoints of other tools. */
  waymark?: { format: number; sequence: number; parent_checkpoint_id: string | null };
  /** What the environment was; absent in checkpoints of other tools. */
  environment?: Environment | null;
  metadata: {
    /** SHA-256 over the compact JSON of everything but `metadata`, lower-case hex. */
    checksum: string;
    created_by: string;
    version: string;
    /** BLAKE3 over the file's bytes before `metadata`; absent in checkpoints of other tools. */
    seal?: string;
  };
}

/** What `restoreFromCheckpoint` gives. */
export interface RestoredCheckpoint {
  checkpoint: Checkpoint;
  /** The checkpoint's step: the one that was done. */
  restored_step: Step;
  /** How many artifacts the restored registry names. */
  artifacts_restored: number;
  recovery_instructions: string[];
  /** Damaged checkpoints that were passed over; empty if one was asked for by id. */
  skipped: SkippedCheckpoint[];
}

/** A row of `listCheckpoints`. */
export interface ListedCheckpoint {
  checkpoint_id: string;
  /** Absent for a damaged one. */
  step?: Step;
  /** Absent for a damaged one. */
  timestamp?: string;
  /** The manifest's absolute path. */
  path: string;
  /** Only for a damaged one: the kind of damage. */
  damage?: string;
  /** Only for a damaged one: what is wrong, in words. */
  message?: string;
}

/**
 * Takes a checkpoint of a run after a step was done, keeps the newest five, and enters it in the
 * run's registry. When the promise is fulfilled, the checkpoint survives power loss.
 *
 * @param runId the run; its folder is found from the main script's place (see `docs/runner.md`)
 * @param step the step's number, or its name; text that spells a number is that number
 * @param stepState anything `JSON.stringify` accepts, up to 64 MiB; default `{}`
 * @returns the manifest; its large members are parsed when they are first looked at, those of one
 * over 256 KiB read back from its file (`ERR_CHECKPOINT_NOT_FOUND` if it was dropped by then)
 * @throws {WaymarkError} `ERR_RUN_ID_INVALID`, `ERR_STEP_INVALID`, `ERR_STATE_NOT_JSON`,
 * `ERR_STATE_TOO_DEEP`, `ERR_STATE_TOO_LARGE`, `ERR_RUNS_DIR_NOT_FOUND`, `ERR_RUN_NOT_FOUND`,
 * `ERR_RUN_RECORD_MISSING`, `ERR_RUN_RECORD_DAMAGED`, `ERR_REGISTRY_DAMAGED`, `ERR_RUN_BUSY`,
 * `ERR_PATH_SYMLINK`, `ERR_RUN_READ_ONLY`, `ERR_DISK_FULL`, `ERR_NOT_DURABLE`, `ERR_IO`
 */
export declare function createCheckpoint(
  runId: string,
  step: Step,
  stepState?: unknown,
): Promise<Checkpoint>;

/**
 * Puts a run back to a checkpoint: `run.json` (with the checkpoint's step, `in_progress` and a new
 * `updated_at`), the registry, the other JSON files at the top of the run's folder, and the captured files
 * (unless `restore.files` is false in `waymark.config.json`). All of them or none, whatever happens
 * meanwhile.
 *
 * @param runId the run
 * @param checkpointId the checkpoint; without it, the newest good one
 * @throws {WaymarkError} `ERR_CHECKPOINT_NOT_FOUND` (`Checkpoint not found: <id>`),
 * `ERR_CHECKPOINT_DAMAGED` (`Checkpoint integrity check failed: <why>`), `ERR_NO_CHECKPOINT`,
 * `ERR_NO_GOOD_CHECKPOINT`, `ERR_RUN_ID_INVALID`, `ERR_CHECKPOINT_ID_INVALID`, `ERR_RUN_NOT_FOUND`,
 * `ERR_RUNS_DIR_NOT_FOUND`, `ERR_RUN_BUSY`, `ERR_RUN_LOCKED`, `ERR_PATH_SYMLINK`,
 * `ERR_RESTORE_CONFLICT`, `ERR_RESTORE_UNVERIFIED`, `ERR_RUN_READ_ONLY`, `ERR_DISK_FULL`,
 * `ERR_NOT_DURABLE`, `ERR_IO`
 */
export declare function restoreFromCheckpoint(
  runId: string,
  checkpointId?: string | null,
): Promise<RestoredCheckpoint>;

/**
 * Lists the checkpoints of a run that can be restored, newest first; `[]` for an unknown run.
 *
 * @param options `includeDamaged`: also give those that can't, at the end, with `damage` and
 * `message`; default false
 * @throws {WaymarkError} `ERR_RUN_ID_INVALID`, `ERR_RUNS_DIR_NOT_FOUND`, `ERR_PATH_SYMLINK`, `ERR_IO`
 */
export declare function listCheckpoints(
  runId: string,
  options?: { includeDamaged?: boolean },
): Promise<ListedCheckpoint[]>;

/** Options that every asynchronous method takes. */
export interface SignalOptions {
  /** Stops the operation before its visible moment; it then rejects with `ERR_ABORTED`. */
  signal?: AbortSignal;
}

/** The captured files of a checkpoint. */
export interface Snapshot {
  /** The captured folders: `run`, `artifacts` (what the registry names elsewhere), `workspace`. */
  roots: {
    name: string;
    path: string;
    tree: string;
    /** The folder's own permission bits; absent in older checkpoints. */
    mode?: number;
  }[];
  /** How many files have their content stored. */
  files: number;
  /** The sizes of these and of the withheld ones together, in bytes. */
  bytes: number;
  /** How many bytes the checkpoint added to the store. */
  added_bytes: number;
  /** How many files are recorded by hash and size only, because they hold secrets. */
  withheld: number;
  /** Whether something could not be captured. */
  partial: boolean;
  /** The first hundred of what could not be captured. */
  problems: {
    root: string;
    path: string;
    reason: 'not_regular' | 'unreadable' | 'too_large' | 'changing';
    size: number;
  }[];
  /** How many there are in all. */
  problems_total: number;
  /** Artifacts of the registry that were not there. */
  missing: string[];
}

/** Options of {@link CheckpointManager}. */
export interface CheckpointManagerOptions {
  /** The folder that holds all runs. Default: found, see `docs/runner.md`. */
  runsDir?: string;
  /** The project's folder, below which the runs are looked for. Default: found. */
  root?: string;
  /** The store's folder, for files and large state. Default: `.waymark` in the project. */
  store?: string;
  /** How many of a run's newest checkpoints stay: short for `retention.keepLast`. Default 5. */
  keepLast?: number | 'all';
  /** Which checkpoints of a run stay. Default: `retention` in `waymark.config.json`. */
  retention?: RetentionPolicy;
  /** The largest step state, in bytes. Default 64 MiB. */
  maxStateBytes?: number;
  /** Which files are captured; `false` captures none. Default: as configured. */
  capture?: CaptureOptions | false;
  /**
   * The budget of the store, in bytes; everything in its folder counts, and the room that gc needs.
   * Where a checkpoint does not fit, unneeded objects go, then the run's oldest checkpoints, but never
   * the newest good one nor what else must stay (see `docs/retention.md`); archived checkpoints do not
   * count. If that is not enough, nothing is dropped and `create` fails with
   * `ERR_STORE_BUDGET`. Default: `maxBytes` in `waymark.config.json`, else none.
   */
  maxBytes?: number;
  /** How files are restored. Default: `restore` in `waymark.config.json`. */
  restore?: RestoreSettings;
  /** The thresholds of `health`, over `alerts` in `waymark.config.json`. */
  alerts?: AlertSettings;
  /** What is done about failing steps, over `recovery` of the configuration. */
  recovery?: RecoverySettings;
  /** What is declared of the environment, over `environment` in `waymark.config.json`; `false`: no fingerprints. */
  environment?: EnvironmentOptions | false;
}

/**
 * Which checkpoints of a run stay: those that any of these rules wants, and never less than the newest
 * good one, what is pinned and what another run began from. Also `retention` in `waymark.config.json`; the
 * options of the manager win over it, those of a call over both, member by member. `docs/retention.md`.
 *
 * A length of time is text such as `'36h'`, `'30d'`, `'2w'` or `'1d12h'` (`w`, `d`, `h`, `min`, `s`),
 * `'forever'`, or a number of milliseconds.
 */
export interface RetentionPolicy {
  /** How many of the newest stay. Default 5. */
  keepLast?: number | 'all';
  /** Of how many hours that have checkpoints the newest stays. Default 0. */
  keepHourly?: number;
  /** Of how many days. Default 0. */
  keepDaily?: number;
  /** Of how many weeks, from Monday on. Default 0. */
  keepWeekly?: number;
  /** Of how many months. Default 0. */
  keepMonthly?: number;
  /** Of how many years. Default 0. */
  keepYearly?: number;
  /** All that are younger stay. Default: age keeps none. */
  keepWithin?: string | number;
  /** All that have one of these labels stay. Default none. */
  keepLabels?: string[];
  /**
   * How long checkpoints of a class stay whatever the other rules say. Default: `frequent` 7 days,
   * `milestone` 30 days, `critical` for ever.
   */
  classes?: {
    frequent?: string | number;
    milestone?: string | number;
    critical?: string | number;
  };
  /** Where hours, days and so on begin: minutes east of UTC. Default 0. */
  utcOffsetMinutes?: number;
  /**
   * Whether a checkpoint is moved to an archive instead of being dropped; also when `create` prunes, and
   * for the budget. See `archived` and `unarchive`. Default false.
   */
  archive?: boolean;
}

/**
 * Which files are captured with a checkpoint. Also `capture` in `waymark.config.json`; the options of
 * the manager win over it, those of a call over both, member by member.
 *
 * Globs have the syntax of a line in `.gitignore`.
 */
export interface CaptureOptions {
  /**
   * The run's own files: all but `checkpoints/`, the lock and what the manifest carries. A
   * `.waymarkignore` in the run's folder counts. Default true.
   */
  run?: boolean;
  /** Artifacts of the registry that lie elsewhere in the project. Default true. */
  artifacts?: boolean;
  /** The project's folder (`true`), or these folders, absolute or relative to it. Default false. */
  workspace?: boolean | string[];
  /** Whether `.gitignore` counts in the workspace; `.waymarkignore` always does. Default true. */
  gitignore?: boolean;
  /** What of the workspace is captured though ignore files leave it out. Default none. */
  include?: string[];
  /** What of the workspace and of the artifacts is left out whatever else says. Default none. */
  exclude?: string[];
  /**
   * Files that hold secrets (`.env*`, keys, credentials …) are recorded by hash and size, without
   * their content. An array adds globs, `!glob` takes one out; `false` stores their content too.
   * Default true.
   */
  secrets?: boolean | string[];
  /** Larger files are left out, and reported, in bytes. Default 1 GiB. */
  maxFileBytes?: number;
  /**
   * What happens when something can't be captured: the checkpoint is marked partial and lists it, or
   * the call fails with `ERR_CHECKPOINT_PARTIAL`. Default `mark`.
   */
  onPartial?: 'mark' | 'error';
}

/** How far an operation is. */
export interface Progress {
  /** What it is busy with. */
  phase: string;
  /** Files dealt with. */
  files: number;
  /** Bytes dealt with. */
  bytes: number;
  /** Files in all, where known. */
  totalFiles?: number;
  /** Bytes in all, where known. */
  totalBytes?: number;
}

/** Options of an operation that tells how far it is. */
export interface ProgressOptions extends SignalOptions {
  /** Called about ten times a second while the operation runs, and once when it is done. */
  onProgress?: (progress: Progress) => void;
}

/** Options of `create`. `createSync` can't tell progress: it keeps the thread to itself. */
export interface CreateOptions extends ProgressOptions {
  /** How many of the run's newest checkpoints stay: short for `retention.keepLast`. */
  keepLast?: number | 'all';
  /** Which checkpoints of the run stay. Default, member by member: the manager's. */
  retention?: RetentionPolicy;
  /** The largest step state, in bytes. Default: the manager's. */
  maxStateBytes?: number;
  /** Which files are captured; `false` captures none. Default: the manager's. */
  capture?: CaptureOptions | false;
  /** The budget of the store, in bytes. Default: the manager's. */
  maxBytes?: number;
  /** What is said of it: why it was taken, by whom, for which part of the work. */
  facts?: Facts;
  /** What is declared of the environment, over the manager's; `false`: no fingerprint. */
  environment?: EnvironmentOptions | false;
}

/**
 * What is declared of the environment that a run needs, for the fingerprint of its checkpoints. Also `environment`
 * in `waymark.config.json`; the options of the manager win over it, those of a call over both, member by member.
 * See `docs/resume.md`.
 */
export interface EnvironmentOptions {
  /** The git worktree that the run works in, relative to the project (the default is the project); `false`: none. */
  worktree?: string | false;
  /** The workflow file, relative to the project. Default: the one after `--workflow` of this very step. */
  workflow?: string;
  /** Ports by name: a number, or the JSON pointer of where `run.json` has it. */
  ports?: { [name: string]: number | string };
  /** Names of environment variables. Values are not kept, only what tells two of them apart. */
  variables?: string[];
  /** Programs, by name; with the arguments that make one tell its version. */
  tools?: string[] | { [name: string]: true | string[] };
  /** Files, relative to the project. */
  files?: string[];
  /** Collectors of your own: functions, or paths of modules, which run in a thread that can be ended. */
  collectors?: { [name: string]: string | ((run: CollectorContext) => unknown) };
  /** How long one collector may take, in milliseconds, at most 600,000. Default 3000. */
  timeoutMs?: number;
  /** Until when the checkpoint is to be used: a time, or a span such as `7d`. */
  expires?: Date | string;
}

/** What a collector of your own is told. */
export interface CollectorContext {
  /** The project's folder. */
  root: string;
  /** The run's folder. */
  runDir: string;
  /** The run. */
  runId: string;
}

/** What could not be told, and why. */
export interface NotTold {
  failed: string;
}

/** What a run's environment was when a checkpoint was taken. A part that nothing is known of is absent. */
export interface Environment {
  format: number;
  /** When it was taken, ISO 8601. */
  taken: string;
  /** Until when the checkpoint is to be used, ISO 8601. */
  expires?: string;
  /** The git worktree: where, which branch, which commit, what is not committed. */
  git?: JsonObject | NotTold;
  /** The workflow file: where, its SHA-256, its steps in their order, and which of them run side by side or wait for others. */
  workflow?:
    | {
        path: string;
        hash: string;
        steps: Step[];
        parallel?: { step: Step; group?: string; after?: Step[] }[];
      }
    | NotTold;
  /** Node, Waymark, and the SHA-256 of each package lock. */
  versions?: { node: string; waymark: string; locks: { [name: string]: string } } | NotTold;
  /** Ports by name, and where `run.json` has them. */
  ports?: { [name: string]: { port: number; at: string; free?: boolean | null } } | NotTold;
  /** Environment variables: what tells two values apart; `null` if it is not set. */
  variables?: { [name: string]: string | null } | NotTold;
  /** Programs: where each is found, and its version if that was asked for, or why it did not say it. */
  tools?:
    | {
        [name: string]: {
          path: string;
          asked?: string[];
          version?: string;
          failed?: string;
        } | null;
      }
    | NotTold;
  /** Files: SHA-256, `null` if there is none. */
  files?: { [path: string]: string | null } | NotTold;
  /** The machine. */
  host?: { name: string; platform: string; arch: string } | NotTold;
  /** What the collectors of your own told. */
  custom?: JsonObject | NotTold;
  /** What was accepted to get to this checkpoint. */
  accepted?: AcceptedReason[];
  /** What was done about the other reasons. */
  did?: { option: string; message: string }[];
}

/** A reason that somebody accepted. */
export interface AcceptedReason {
  type: string;
  kind?: string;
  message: string;
  /** When, ISO 8601. */
  at: string;
}

/** Why a run is not as it was at its checkpoint; `docs/resume.md` has all types and kinds. */
export interface ResumeReason {
  type: string;
  /** A finer reason. */
  kind?: string;
  /** In words. */
  message: string;
  /** What there was and what there is, by type. */
  details: { [name: string]: unknown };
  /** `stale`: the run does not go on unless something is done; `change`: it does; `note`: only worth knowing. */
  severity: 'note' | 'change' | 'stale';
  /** Whether it was accepted. */
  accepted: boolean;
  /** What resolves it. */
  options: string[];
}

/** `ready`: all is as it was; `ready-with-changes`: it can go on; `stale`: something is to be done first. */
export type ResumeVerdict = 'ready' | 'ready-with-changes' | 'stale';

/**
 * How much reasons matter, by type (`head_moved`) or type and kind (`head_moved.ahead`), and how old a checkpoint
 * may be (`maxAge`: a span such as `14d`). Also `resume.policy` in `waymark.config.json`.
 */
export interface ResumePolicy {
  [reason: string]: 'ignore' | 'note' | 'change' | 'stale' | string | undefined;
  maxAge?: string;
}

/** Something that can be done. */
export interface OfferedOption {
  option: string;
  /** The types of reasons that it resolves. */
  resolves: string[];
  /** What it does. */
  about: string;
  /** The value that it takes: `option=value`. */
  value?: string;
}

/** Where a run stands in its workflow. Of tasks the steps are paths, such as `build/test`. */
export interface ResumeSteps {
  done: Step[];
  /** Passed over without a checkpoint. */
  skipped: Step[];
  todo: Step[];
  /** Those to do that nothing stands before: more than one if they may run side by side. */
  frontier: Step[];
}

/** Options of `planResume`. */
export interface PlanResumeOptions extends SignalOptions {
  /** Go on after this checkpoint. Default: the newest good one. */
  checkpoint?: string;
  /** Go on after the newest good checkpoint of this step. */
  step?: Step;
  /** Reasons to go on with all the same: types, or types with a kind (`head_moved.ahead`). */
  accept?: string[];
  /** How much reasons matter, over the configuration. */
  policy?: ResumePolicy;
  /** The workflow file. Default: the one that the checkpoint names, else the declared one (`environment.workflow`). */
  workflow?: string;
  /** What becomes of files changed since the newest checkpoint. Default: as configured. */
  onConflict?: OnConflict;
  /** Whether files are put back. Default: as configured. */
  files?: boolean;
  /** Whether a checkpoint that is found stale is marked so (`facts.data.waymark.stale`). Default true. */
  mark?: boolean;
}

/** Whether a run can go on, from where, and what is not as it was. */
export interface ResumePlan {
  runId: string;
  verdict: ResumeVerdict;
  /** The checkpoint it would go on from; `null` if there is none to. */
  checkpointId: string | null;
  /** The step it was taken after; `null` if none was done by then, or there is no checkpoint to go on from. */
  from: Step | null;
  /** When it was taken, ISO 8601. */
  timestamp: string | null;
  /** The step to go on with; `null` if none is left, or no workflow file is known. */
  next: Step | null;
  /** The workflow file that says so. */
  workflow: string | null;
  steps: ResumeSteps;
  /** What is not as it was, the gravest first. */
  reasons: ResumeReason[];
  /** What can be done about those that are not accepted. */
  options: OfferedOption[];
  /** What was accepted. */
  accepted: string[];
  /** Damaged checkpoints that were passed over: the newer ones. */
  skipped: SkippedCheckpoint[];
}

/** Options of `resume`. */
export interface ResumeOptions extends PlanResumeOptions {
  /** What is done about reasons: `new_ports`, `fork=other-run`, `restart_from_step=1.5`, … */
  options?: string[];
}

/** A run that was made ready to go on. */
export interface ResumeOutcome {
  /** The run to go on with; another one after `fork`. */
  runId: string;
  checkpointId: string | null;
  from: Step | null;
  /** The step to start; `null` if none is left. */
  next: Step | null;
  /** True if the run was ended (`abandon`). */
  ended: boolean;
  /** What was done, in this order. */
  did: { option: string; message: string; [name: string]: unknown }[];
  /** The new ports, by name. */
  ports: { [name: string]: number };
  /** The plan it went by. */
  plan: ResumePlan;
  /** What was restored; `null` if nothing was. */
  restored: RestoreResult | null;
  /**
   * The lease that was taken for whoever goes on, renewed until it is released or this process ends: until then every other
   * resume is refused, in this process too. `null` if no step is left, or this process (`manager.lease()`), or the one
   * that started it, held the run already.
   */
  lease: Lease | null;
}

/** Where a checkpoint stands in its life; `docs/lifecycle.md` has the moves. */
export type CheckpointState = 'created' | 'active' | 'completed' | 'failed' | 'restored';

/** Another run, or a checkpoint of it. */
export interface Link {
  /** The run. */
  run: string;
  /** The checkpoint in it. */
  checkpoint?: string;
}

/**
 * What is said of a checkpoint; everything is optional. The same in the manifest's member `facts` and in
 * `schema/facts.schema.json`. Texts have up to 256 characters, `description` and `summary` 4,096; all
 * together 64 KiB as JSON.
 */
export interface Facts {
  /** How it came about. */
  type?: 'automatic' | 'manual' | 'workflow' | 'emergency' | 'rescue';
  /** What made it due. */
  trigger?:
    | 'phase_transition'
    | 'quality_gate'
    | 'critical_decision'
    | 'handoff'
    | 'time'
    | 'risk'
    | 'user'
    | 'experiment'
    | 'milestone'
    | 'complexity'
    | 'progress'
    | 'resource'
    | 'context';
  /** What it is about. */
  scope?: 'framework' | 'project' | 'agent' | 'workflow';
  /** How much it matters. */
  priority?: 'low' | 'normal' | 'high' | 'critical';
  /** How long it is kept, at least. */
  class?: 'frequent' | 'milestone' | 'critical';
  /** The phase of the work. */
  phase?: string;
  /** The task. */
  task?: string;
  /** Who works on it. */
  worker?: string;
  /** Who asked for the checkpoint. */
  author?: string;
  /** Words to find it by, at most 64, none twice. */
  labels?: string[];
  /** In words. */
  description?: string;
  /** How much is done, in the caller's units. */
  progress?: { done?: number; total?: number; summary?: string };
  /** What a restore needs besides the checkpoint. */
  requirements?: { versions?: Record<string, string>; files?: string[]; services?: string[] };
  /** The checkpoint of another run that this one comes from. */
  parent?: Link;
  /** Runs that do a part of the work. */
  subtasks?: Link[];
  /** The caller's own data, nested up to 32 levels. */
  data?: JsonObject;
}

/** A change of facts: a merge patch (RFC 7396). Members of objects are merged, `null` takes one away. */
export type FactsUpdate = { [name in keyof Facts]?: Facts[name] | JsonObject | null };

/** Which checkpoints are wanted. Everything that is given has to hold; of a list one. */
export interface QueryFilter {
  /** The run. */
  run?: string | string[];
  /** The workflow. */
  workflow?: string | string[];
  /** The task. */
  task?: string | string[];
  /** The worker. */
  worker?: string | string[];
  /** The phase. */
  phase?: string | string[];
  /** A label. */
  label?: string | string[];
  /** The state. */
  state?: CheckpointState | CheckpointState[];
  /** How it came about. */
  type?: NonNullable<Facts['type']> | NonNullable<Facts['type']>[];
  /** What made it due. */
  trigger?: NonNullable<Facts['trigger']> | NonNullable<Facts['trigger']>[];
  /** What it is about. */
  scope?: NonNullable<Facts['scope']> | NonNullable<Facts['scope']>[];
  /** How much it matters. */
  priority?: NonNullable<Facts['priority']> | NonNullable<Facts['priority']>[];
  /** The retention class. */
  class?: NonNullable<Facts['class']> | NonNullable<Facts['class']>[];
  /** Taken at this time or later: a Date, ISO 8601 text, or milliseconds since 1970. */
  from?: Date | string | number;
  /** Taken before this time. */
  until?: Date | string | number;
  /** Damaged, or not. Default: both. */
  damaged?: boolean;
  /** Pinned now, or not. Default: both. */
  pinned?: boolean;
  /** The newest good one of a run that is neither completed nor cancelled, or not that. Default: both. */
  resumable?: boolean;
  /** By the time it was taken. Default `newest`. */
  order?: 'newest' | 'oldest';
}

/** Options of `query`. */
export interface QueryOptions extends QueryFilter, SignalOptions {}

/** Options of `find`. */
export interface FindOptions extends QueryFilter, SignalOptions {
  /** At most so many, up to 10,000. Default 50. */
  limit?: number;
  /** Where a page before ended: its `next`. */
  after?: string;
}

/** What is known of a checkpoint that was found. */
export interface QueryRow {
  /** The run. */
  runId: string;
  /** Its id; of a damaged one the file's name without `.json`. */
  checkpointId: string;
  /** The step that was done; absent for a damaged one. */
  step?: Step;
  /** When it was taken, ISO 8601; of a damaged one, when the file changed last. */
  timestamp: string;
  /** Its place in the run's history, from 1. */
  sequence?: number;
  /** The checkpoint that it descends from. */
  parentCheckpointId?: string;
  /** The workflow. */
  workflowId?: string;
  /** The manifest's size in bytes. */
  size: number;
  /** Its state; absent for a damaged one. */
  state?: CheckpointState;
  /** When its state changed last, ISO 8601. */
  stateAt?: string;
  /** What is said of it, updates included. */
  facts?: Facts;
  /** Why it failed. */
  failure?: { name?: string; message?: string; code?: string; stack?: string; details?: unknown };
  /** Why it must stay. */
  pin?: { reason: string; until?: string };
  /** The runs that were forked from it. */
  forks?: Link[];
  /** What is wrong with it: the kind of damage. */
  damage?: string;
  /** Whether it is the newest good one of a run that is neither completed nor cancelled. */
  resumable: boolean;
}

/** Some checkpoints. */
export interface QueryPage {
  /** In order. */
  rows: QueryRow[];
  /** Where the next page begins; absent at the end. */
  next?: string;
  /**
   * Runs that could not be read whole, whether or not something of them was asked for: there may be more of them
   * than is told, or, where their log of changes is damaged, other states and pins. Absent if there are none;
   * `query` tells of them with a process warning (`WAYMARK_QUERY`).
   */
  problems?: QueryProblem[];
}

/** A run that could not be read whole. */
export interface QueryProblem {
  /** The run. */
  runId: string;
  /** What is wrong, in words. */
  message: string;
}

/** A run's checkpoints by what they descend from. */
export interface RunTree {
  /** The run. */
  runId: string;
  /** The first ones, and those whose parent is gone, oldest first. */
  roots: TreeNode[];
}

/** A checkpoint and what came of it. */
export interface TreeNode {
  /** The checkpoint. */
  checkpoint: QueryRow;
  /** Those that descend from it, oldest first. */
  children: TreeNode[];
  /** Runs that were forked from it, and those that do a part of its work. */
  runs: (RunTree & { kind: 'fork' | 'subtask' })[];
}

/** Options of `fork`. */
export interface ForkOptions extends ProgressOptions {
  /** At this checkpoint and no other; without it, and without `step`, at the newest good one. */
  checkpointId?: string;
  /** At the newest good checkpoint of this step. */
  step?: number | string;
}

/** A run that began from a checkpoint of another one. */
export type Forked = ForkOutcome;

/** What a checkpoint has become. */
export type ChangedCheckpoint = BecomeOutcome;

/** Options of `complete`. */
export interface CompleteOptions extends SignalOptions {
  /** What is said of it besides. */
  update?: FactsUpdate;
}

/** Options of `fail`. */
export interface FailOptions extends SignalOptions {
  /** What is said of it besides. */
  update?: FactsUpdate;
}

/** Options of `pin`. */
export interface PinOptions extends SignalOptions {
  /** Why it must stay. */
  reason: string;
  /** Until when: a Date, ISO 8601 text, or milliseconds since 1970. Default: for ever. */
  until?: Date | string | number;
}

/** Why something failed: an error, a text, or what is known. */
export type FailureReason =
  | Error
  | string
  | { name?: string; message?: string; code?: string; stack?: string; details?: unknown };

/** What becomes of a file that was changed since the newest checkpoint, or since the last restore. */
export type OnConflict = 'refuse' | 'keep-both' | 'overwrite' | 'merge';

/** Settings of restores: of a manager, or `restore` in `waymark.config.json`. */
export interface RestoreSettings {
  /** Whether files are put back, or the state only. Default true. */
  files?: boolean;
  /**
   * Default: `refuse` in the workspace, `overwrite` in the run's own folder and among artifacts; what is
   * overwritten is kept in the rescue checkpoint.
   */
  onConflict?: OnConflict;
}

/**
 * A part of a checkpoint: `state` (`run.json` and the other JSON files beside it), `registry`, a captured
 * folder; what matches a glob (syntax of a `.gitignore` line); the artifacts that a step has registered; a
 * path of a folder (its name or its path) with all below it.
 */
export type RestorePart =
  | 'state'
  | 'registry'
  | 'run'
  | 'artifacts'
  | 'workspace'
  | { glob: string }
  | { step: Step }
  | { path: string | Uint8Array; root: string };

/** How something is restored. */
interface RestoreHow extends SignalOptions, RestoreSettings {
  /** Only these parts. Default: all. */
  only?: RestorePart[];
  /** How the disk is looked at (ignore files, secrets). Default: as files are captured. */
  capture?: CaptureOptions | false;
  /** The budget of the store, in bytes, for the rescue checkpoint. Default: the manager's. */
  maxBytes?: number;
}

/** Which checkpoint; without any of them the newest good one. */
interface RestoreWhich {
  /** This one and no other. */
  checkpointId?: string;
  /** The newest good one of this step. */
  step?: Step;
  /** The newest good one that is not younger: a Date, ISO 8601 text, or milliseconds since 1970. */
  at?: Date | string | number;
}

/** Options of `planRestoreSync`. */
export interface PlanRestoreSyncOptions extends RestoreWhich, RestoreHow {}

/** Options of `planRestore`. */
export interface PlanRestoreOptions extends PlanRestoreSyncOptions, ProgressOptions {}

/** Options of `restoreSync`. */
export interface RestoreSyncOptions extends RestoreWhich, RestoreHow {
  /**
   * The plan to apply, by its id: nothing else is done than it said (`ERR_PLAN_STALE`). It settles the
   * checkpoint, `only` and `onConflict`.
   */
  plan?: string;
}

/** Options of `restore`. */
export interface RestoreOptions extends RestoreSyncOptions, ProgressOptions {
  /**
   * `immediate`: all as one. `staged`: the run's files, artifacts, the workspace, the registry and the state
   * one after the other. `progressive`: files in batches, then the registry and the state. Each part is
   * whole and verified or not there at all; the first failure puts everything back. Default `immediate`.
   */
  strategy?: 'immediate' | 'staged' | 'progressive';
  /** Paths per batch of a `progressive` restore. Default 50. */
  batch?: number;
  /**
   * Called after each part. If it gives (or promises) `false` or throws, everything is put back and the
   * restore fails with `ERR_RESTORE_CHECK_FAILED`.
   */
  check?: (stage: RestoreStage) => unknown;
}

/** Options of `undoSync`. */
export interface UndoSyncOptions extends RestoreHow {}

/** Options of `undo`. */
export interface UndoOptions extends RestoreHow, ProgressOptions {}

/** Options of `recoverSync`. */
export interface RecoverOptions {
  /** What becomes of a restore that was cut off. Default `finish`. */
  unfinished?: 'finish' | 'undo';
}

/** Options of `list`. */
export interface ListOptions extends SignalOptions {
  /** Also give damaged ones, at the end. Default false. */
  includeDamaged?: boolean;
}

/** Options of `verifyStore`. */
export interface VerifyStoreOptions extends ProgressOptions {
  /** Contents are read, unpacked and hashed, each once; else they are looked up. Default false. */
  data?: boolean;
  /**
   * Of the contents only this share, from 0.001 to 1, and the next one each time: ten calls with 0.1 read
   * all of them. Implies `data`. How far the round is, is kept on the disk.
   */
  share?: number;
  /**
   * Objects that can't be read are made to be stored anew by the next checkpoint that meets the same
   * content; until then the checkpoints that need them lack them. Default false.
   */
  heal?: boolean;
}

/** Options of `verify`. */
export interface VerifyOptions extends VerifyStoreOptions {
  /** Only this one, which does not go with `share`. Default: all of the run. */
  checkpointId?: string;
}

/** What kind of thing an event tells of. */
export type EventKind =
  | 'created'
  | 'updated'
  | 'completed'
  | 'failed'
  | 'restored'
  | 'undone'
  | 'pruned'
  | 'cleaned'
  | 'imported'
  | 'damaged'
  | 'budget'
  | 'operation_failed';

/** Something that happened, as the audit log has it. `docs/events.md` tells what `data` holds. */
export interface AuditEvent {
  /** Its place in the log, from 1 on; a listener's event lacks it where the log could not be written. */
  seq: number;
  /** When, ISO 8601, UTC. */
  time: string;
  /** What happened. A newer version may write kinds that this one does not know. */
  event: EventKind;
  /** The run; absent if it is about no single run. */
  run?: string;
  /** The folder that holds the run, absolute. */
  runs?: string;
  /** The checkpoint; absent if it is about none. */
  checkpoint?: string;
  /** The process. */
  pid: number;
  /** The machine. */
  host: string;
  /** The user. */
  user?: string;
  /** `operation`, `took_us` (microseconds), and by kind more. */
  data: { operation: string; took_us?: number; [name: string]: unknown };
  /** The hash of the event before; absent like `seq`. */
  prev?: string;
  /** The hash of this one; absent like `seq`. */
  hash?: string;
}

/** Options of `events`. */
export interface EventsOptions extends SignalOptions {
  /** Those behind this number, the first of them first. Default: the newest ones. */
  after?: number;
  /** At most so many. Default: 1,000. */
  limit?: number;
  /** Only those of this run. */
  runId?: string;
  /** Only those of these kinds. Default: all. */
  kinds?: EventKind[];
}

/** Options of `followEvents`. */
export interface FollowEventsOptions extends Omit<EventsOptions, 'limit'> {
  /** Those behind this number. Default: what happens from the call on. */
  after?: number;
  /** How often the log is looked at while there is nothing new, in milliseconds. Default: 250. */
  pollMs?: number;
}

/** Options of `metrics` and `prometheus`. */
export interface MetricsOptions extends SignalOptions {
  /**
   * Only what happened at this time or later, to the minute (what is days old may be kept by the hour): a Date,
   * ISO 8601 text, or milliseconds since 1970. Default: everything that the audit log reaches.
   */
  since?: Date | string | number;
}

/** How many values are at or below a bound; `le` is `null` for the last one: all of them. */
export interface Bucket {
  le: number | null;
  count: number;
}

/** What an operation did. */
export interface OperationMetrics {
  /**
   * What the audit log tells of it: `all`; `effects`: successes only where something was dropped or brought in;
   * `failures`: those, and for `verify` the times it found damage.
   */
  noted: 'all' | 'effects' | 'failures';
  /** `succeeded` and `failed`. */
  count: number;
  succeeded: number;
  failed: number;
  /** By the error's code. */
  failures: { [code: string]: number };
  /** What it wrote, put back or dropped, as far as its events tell. */
  bytes: number;
  /** How long those took that succeeded, in milliseconds. */
  latency: {
    count: number;
    sumMs: number;
    /** `null` without any; so are the others. */
    maxMs: number | null;
    /** Half took no longer, estimated from `buckets`. */
    p50: number | null;
    p95: number | null;
    p99: number | null;
    buckets: Bucket[];
  };
}

/** How far the audit log was read. */
export interface MetricsLog {
  /** The number of the first event that counts; absent without events. */
  first?: number;
  /** Its time, ISO 8601: the log is bounded, and says nothing of what was before. */
  since?: string;
  /** The number of the last event. */
  position: number;
  /** How many were read. */
  events: number;
  /** How many were dropped from the log between two calls, before they were read. */
  missed: number;
  /** How many lines are not what was written, or do not follow the one before. */
  broken: number;
}

/** What a store takes on the disk, in bytes. */
export interface MetricsStore {
  /** Its folder. */
  path: string;
  /** All of it. */
  bytes: number;
  /** Files and large state of checkpoints. */
  objects: number;
  caches: number;
  /** The audit log. */
  log: number;
  roots: number;
  /** Checkpoints that were archived. */
  archive: number;
  /** Indexes, locks, the reserve. */
  rest: number;
}

/** What all processes did to a store. */
export interface Metrics {
  /** When it was told, ISO 8601. */
  at: string;
  /** What happened since then counts, ISO 8601; absent if nothing did. */
  since?: string;
  /** How far the audit log reaches. */
  log: MetricsLog;
  /** By verb. */
  operations: { [operation: string]: OperationMetrics };
  /** How many events of each kind. */
  events: { [kind: string]: number };
  /** Checkpoints that were taken. */
  checkpoints: {
    created: number;
    /** Of their manifests. */
    bytes: number;
    /** Of the states that were given. */
    stateBytes: number;
    /** Of the captured files; 0 where events don't tell. */
    fileBytes: number;
    /** What they added to the store. */
    addedBytes: number;
    /** A manifest; `null` without any. */
    meanBytes: number | null;
    maxBytes: number | null;
    /** Manifests by size. */
    sizes: Bucket[];
  };
  /** What full copies of checkpoints would have taken, by what it took. */
  dedup: {
    logicalBytes: number;
    /** Manifests and what was added to the store. */
    storedBytes: number;
    /** `null` without checkpoints. */
    ratio: number | null;
    /** True if it may be better: not all events told how large the captured files are. */
    atLeast: boolean;
  };
  /** What checkpoints added to the disk, before anything was dropped. */
  growth: { bytes: number; perDay: number };
  /** What restores came to; `rate` is `null` without any. */
  restores: { succeeded: number; failed: number; rate: number | null };
  /** What the store takes now. */
  store: MetricsStore;
}

/** How bad it is. */
export type HealthLevel = 'ok' | 'warn' | 'alert';

/** What health looks at; `docs/stats.md` says what each is. */
export type HealthCheckName =
  | 'successRate'
  | 'verifiedShare'
  | 'checkpointAgeHours'
  | 'restoreSeconds'
  | 'damaged'
  | 'unready'
  | 'storeShare'
  | 'brokenEvents';

/** From when on it is bad: `null` never, absent as by default. */
export interface AlertLimits {
  warn?: number | null;
  alert?: number | null;
}

/**
 * The thresholds of health. Also `alerts` in `waymark.config.json`; the options of the manager win over it, those
 * of a call over both, member by member. `false` switches a check off.
 */
export type AlertSettings = { [name in HealthCheckName]?: AlertLimits | false } & {
  /** How long operations count for `successRate`, in hours. Default 24. */
  windowHours?: number;
  /** How old a verification may be, in days. Default 7. */
  verifiedWithinDays?: number;
  /** With fewer operations in the window `successRate` is not judged. Default 10. */
  minOperations?: number;
};

/** Options of `health`. */
export interface HealthOptions extends SignalOptions {
  /** Thresholds, over those of the manager and of `waymark.config.json`. */
  thresholds?: AlertSettings;
}

/** What one threshold came to. */
export interface HealthCheck {
  name: HealthCheckName;
  level: HealthLevel;
  /** `null`: there is nothing to judge, or the check is off and costly. */
  value: number | null;
  /** `null`: never. */
  warn: number | null;
  alert: number | null;
}

/** Where a run that is not over could go on. */
export interface RunReadiness {
  runId: string;
  /** Its newest good checkpoint. */
  checkpointId: string;
  timestamp: string;
  ageMs: number;
  /** What a restore has to read, as far as known. */
  bytes: number;
  /** How long that would take, estimated. */
  restoreMs: number;
}

/** Whether one could go on. */
export interface Health {
  /** The worst of all checks. */
  level: HealthLevel;
  /** When it was told, ISO 8601. */
  at: string;
  checks: HealthCheck[];
  /** Within the window; `refused`: what could not be done as asked, which counts neither way. */
  operations: { since: string; succeeded: number; failed: number; refused: number };
  checkpoints: {
    total: number;
    damaged: number;
    /** How many are old enough to have been verified; `null` if that check is off. */
    due: number | null;
    /** How many of those were, `verify --data`. */
    verified: number | null;
  };
  /** What restores need: measured by so many, or assumed with less than three. */
  restore: { fixedMs: number; bytesPerSecond: number; measured: number };
  /** Runs that are not over, the one with the oldest checkpoint first. */
  runs: RunReadiness[];
  /** Runs that have checkpoints, none of them good. */
  unready: string[];
  /** `counted`: what a budget counts. */
  store: { path: string; bytes: number; counted: number; maxBytes?: number };
  log: MetricsLog;
}

/** Options of `gc`. */
export interface GcOptions extends ProgressOptions {
  /** Plan only. Default false. */
  dryRun?: boolean;
  /** Packs with a larger share of unneeded bytes are written anew, from 0 to 1. Default 0.05. */
  maxUnused?: number;
  /** Folders of runs whose checkpoints need nothing any more: they lose their files. Default none. */
  forgetRoots?: string[];
}

/** Options of what drops checkpoints. */
export interface CollectOptions extends ProgressOptions {
  /**
   * Whether a gc follows, so that the space comes back at once. One that fails is a warning.
   * Default false.
   */
  gc?: boolean;
}

/** What the gc did that followed. */
export interface CollectResult {
  /** Absent if none was asked for, or if it failed. */
  gc?: GcOutcome;
  /** Why it failed. */
  warnings?: string[];
}

/** Options of `prune`. */
export interface PruneOptions extends CollectOptions {
  /** How many of the newest stay: short for `retention.keepLast`. */
  keepLast?: number | 'all';
  /** Which stay. Default, member by member: the manager's. */
  retention?: RetentionPolicy;
  /** Whether what goes is archived first: short for `retention.archive`. */
  archive?: boolean;
  /** Whether each decision carries its reasons as a sentence, too (`explanation`). Default false. */
  explain?: boolean;
  /** Decide, but drop nothing. Default false. */
  dryRun?: boolean;
}

/** What the retention policy says of one checkpoint. */
export type RetentionDecision = Omit<NativeRetentionDecision, 'explanation'> & {
  /** Its reasons as a sentence; with `explain` only. */
  explanation?: string;
};

/** What a prune did, or would do. */
export type PruneOutcome = Omit<NativePruneOutcome, 'decisions'> & {
  /** One decision per checkpoint, newest first, the damaged ones last. */
  decisions: RetentionDecision[];
};

/** Options of `unarchive`. */
export interface UnarchiveOptions extends ProgressOptions {
  /** Whether the archive goes once the checkpoint is safe in its run. Default false. */
  remove?: boolean;
  /** The budget of the store, in bytes. Default: the manager's. */
  maxBytes?: number;
}

/** Options of `cleanup`. */
export interface CleanupOptions extends CollectOptions {
  /** Only this run. */
  runId?: string;
  /**
   * Only runs of these statuses: `failed`, `error`, `cancelled`, `completed`, `handed_off`,
   * `pending`. Default `['failed']`.
   */
  statuses?: string[];
  /** Only runs whose last update is older, in days. Default 7. */
  maxAgeDays?: number;
  /** Decide, but drop nothing. Default false. */
  dryRun?: boolean;
  /** Whether a Markdown report is written. Default true. */
  report?: boolean;
  /** Where it goes. Default `.claude/context/reports/checkpoint-cleanup-report.md`. */
  reportPath?: string;
}

/** Options of `doctor`. */
export interface DoctorOptions extends SignalOptions {
  /** The folder to probe. Default: the folder of runs, else the working directory. */
  path?: string;
}

/** Options of `diff`. */
export interface DiffOptions extends ProgressOptions {
  /**
   * Which files are also compared line by line: all that are listed, or those with these paths
   * (`pathBytes` for those that are not UTF-8). Secrets never are. Default false.
   */
  text?: boolean | (string | Uint8Array)[];
  /** Larger files are not compared line by line, in bytes. Default 1 MiB. */
  maxBytes?: number;
  /** How many changes of each part of the state are listed. All are counted. Default 200. */
  limit?: number;
  /** How many changes of files are listed. All are counted. Default 1000. */
  fileLimit?: number;
  /** Whether files that differ in nothing but their time count. Default false. */
  times?: boolean;
  /**
   * How the disk is looked at, as in `create`; `false` leaves files out. Of the workspace only the
   * folders that the checkpoint has are looked at. Default: the manager's. Not with two checkpoints.
   */
  capture?: CaptureOptions | false;
}

/** The differences of two JSON values. */
export interface JsonDifference {
  /** The first of them, as many as asked for. */
  changes: {
    /** The place, as a JSON Pointer (RFC 6901); empty for the whole value. */
    path: string;
    change: 'added' | 'removed' | 'changed';
    /** The value before as JSON text, cut behind 200 characters; absent where it was added. */
    before?: string;
    /** The value after, likewise; absent where it was removed. */
    after?: string;
  }[];
  /** How many there are in all. */
  total: number;
}

/** Differences line by line, if they were asked for. */
export interface TextDifference {
  /** The hunks of a unified diff, from `@@` on. */
  text?: string;
  /** Why there are none. */
  noText?: 'binary' | 'too_large' | 'secret' | 'not_files' | 'changing';
}

/** Another JSON file at the top of the run's folder that differs. */
export interface RunFileChange extends JsonDifference, TextDifference {
  name: string;
  change: 'added' | 'removed' | 'changed';
  /**
   * `json`: value by value, in `changes`; `bytes`: not both are JSON, or only their layout differs;
   * `unknown`: one side could not be captured.
   */
  compared: 'json' | 'bytes' | 'unknown';
}

/** What stands at a captured path. */
export interface CapturedNode {
  /** `withheld` is a secret, of which only hash and size were kept. */
  kind: 'file' | 'symlink' | 'directory' | 'withheld' | 'skipped';
  /** Its permission bits (`0o7777`); absent for links and for what was skipped. */
  mode?: number;
  /** Its size in bytes; files, and as far as known what was skipped. */
  size?: number;
  /** When its content changed last, in milliseconds since 1970; files only. */
  modified?: number;
  /** BLAKE3 of its whole content, hex; files only. */
  hash?: string;
  /** Where a symbolic link leads; U+FFFD for what is not UTF-8. */
  target?: string;
  /** The same in bytes, where it is not UTF-8. */
  targetBytes?: Buffer;
  /** Why something was skipped. */
  reason?: 'not_regular' | 'unreadable' | 'too_large' | 'changing';
}

/** A captured path. */
export interface CapturedPath {
  /** The captured folder it lies in: `run`, `artifacts` or `workspace`. */
  root: string;
  /** Where that folder lay: relative to the project where it lies in it (`.` is it), else absolute. */
  rootPath: string;
  /** Its path from there; `/` between names, U+FFFD for what is not UTF-8. */
  path: string;
  /** The same in bytes, where it is not UTF-8. */
  pathBytes?: Buffer;
}

/** Something that a checkpoint has captured. */
export type CapturedFile = CapturedPath & CapturedNode;

/** A path that differs. */
export interface FileChange extends CapturedPath, TextDifference {
  change: 'added' | 'removed' | 'changed';
  /** What differs of a path that both sides have. */
  differs: {
    /** The bytes of a file. */
    content: boolean;
    /** The permission bits. */
    mode: boolean;
    /** What it is: a file became a folder, say. */
    type: boolean;
    /** Where a symbolic link leads. */
    target: boolean;
    /** When the content changed last. */
    time: boolean;
    /** One side could not be captured: nothing is known. */
    unknown: boolean;
  };
  /** Absent where it was added. */
  before?: CapturedNode;
  /** Absent where it was removed. */
  after?: CapturedNode;
}

/** A side of a comparison. */
export interface DiffSide {
  checkpointId: string;
  step: Step;
  timestamp: string;
}

/** What differs. */
export interface DiffResult {
  from: DiffSide;
  /** `null` is the disk. */
  to: DiffSide | null;
  state: {
    /** `run.json`. */
    run: JsonDifference;
    /** `artifact-registry.json`, without what Waymark enters in it: checkpoints, and `updated_at`. */
    registry: JsonDifference;
    /** The caller's own state; `null` against the disk, where there is none. */
    stepState: JsonDifference | null;
    /** The other JSON files at the top of the run's folder that differ, by name. */
    runFiles: RunFileChange[];
  };
  files: {
    /**
     * False if nothing is known of the files of one side (a checkpoint of another tool, or
     * `capture: false`): then nothing was compared.
     */
    compared: boolean;
    /** The captured folders, and which sides have them. */
    roots: { root: string; rootPath: string; before: boolean; after: boolean }[];
    /** The first changes, folder by folder, by path. */
    changes: FileChange[];
    /** How many paths differ. */
    total: number;
    added: number;
    removed: number;
    changed: number;
  };
  /** True if nothing differs of what was compared. */
  equal: boolean;
}

/** Options of `files`. */
export interface FilesOptions extends SignalOptions {
  /** Only of the root with this name (`run`, `artifacts`, `workspace`) or path. */
  root?: string;
  /** Only what lies below this path, or this file. */
  under?: string | Uint8Array;
}

/** Options of `readFile`. */
export interface ReadFileOptions extends ProgressOptions {
  /** The root, by its name or path. Default: the first one that has the file. */
  root?: string;
  /** A larger file is refused with `ERR_FILE_TOO_LARGE`, in bytes. Default 256 MiB. */
  maxBytes?: number;
}

/** Options of `exportRun`. */
export interface ExportOptions extends ProgressOptions {
  /** Whether a file that is at the target already is replaced. Default false. */
  overwrite?: boolean;
  /** Whether damaged checkpoints are left out of a run, and told, instead of refused. Default false. */
  allowDamaged?: boolean;
}

/** Options of `exportCheckpoint`. */
export interface ExportCheckpointOptions extends ProgressOptions {
  /**
   * `archive`: one file, which `importArchive` takes. `folder`: `metadata.json`, `manifest.json`, `state/`,
   * `files/` and a report, for people and other tools. Default `archive`.
   */
  format?: 'archive' | 'folder';
  /** Whether a file that is at the target already is replaced; a folder never is. Default false. */
  overwrite?: boolean;
  /**
   * Whether a folder is made of what is whole of a damaged checkpoint; its report says what is not. An
   * archive is never made of one. Default false.
   */
  allowDamaged?: boolean;
}

/** Options of `importArchive`. */
export interface ImportOptions extends ProgressOptions {
  /** Check the archive and tell what it holds; write nothing. Needs no project. Default false. */
  check?: boolean;
  /** Whether checkpoints of another run of the same id are added to the one that is here. Default false. */
  merge?: boolean;
  /** The budget of the store, in bytes. Default: the manager's. */
  maxBytes?: number;
}

/** A checkpoint that was taken. */
export type CreateResult = Omit<CreateOutcome, 'manifest'> & {
  runId: string;
  step: Step;
  /** The manifest; parsed (a large one: read back from its file) when it is first looked at. */
  readonly checkpoint: Checkpoint;
};

/** A captured folder of a restore. */
export interface RestoreRoot {
  /** `run`, `artifacts` or `workspace`. */
  name: string;
  /** Where it lies: relative to the project where it lies in it (`.` is it), else absolute. */
  path: string;
  /** How conflicts in it are settled. */
  onConflict: OnConflict;
}

/** What becomes of a path that is not as the checkpoint has it. */
export interface RestoreRow extends CapturedPath {
  /**
   * `keep_both`: what is there is renamed aside; `keep`: it stays; `conflict`: it can't be done, and nothing
   * of the restore is.
   */
  action:
    | 'create'
    | 'replace'
    | 'set_mode'
    | 'delete'
    | 'keep_both'
    | 'merge'
    | 'keep'
    | 'conflict';
  /**
   * Of `keep`: `not_captured`, `secret`, `not_empty`, or why it was not stored (`not_regular`, `unreadable`,
   * `too_large`, `changing`). Of `conflict`: `changed`, `can_not_be_saved`, `in_the_way`, `case_collision`,
   * `not_mergeable`.
   */
  reason?: string;
  /** Of `keep_both`: the new path of what is there. */
  beside?: string;
  /** The same in bytes, where it is not UTF-8. */
  besideBytes?: Buffer;
  /** What is there; absent if nothing is. */
  before?: CapturedNode;
  /** What the checkpoint has; absent if nothing. */
  after?: CapturedNode;
  /** What differs, if both are. */
  differs?: FileChange['differs'];
}

/** How many paths there are of each kind; what is the same is not counted. */
export interface RestoreTotals {
  create: number;
  replace: number;
  setMode: number;
  delete: number;
  keepBoth: number;
  merge: number;
  keep: number;
  conflict: number;
  /** The sizes in bytes of all files to be written. */
  bytesToWrite: number;
  /** The sizes in bytes of all files that are replaced, merged or deleted. */
  bytesReplaced: number;
}

/** What a restore would do. */
export interface RestorePlan {
  /** What to give as `plan` to apply it. */
  planId: string;
  /** Until when it can be applied, ISO 8601: 15 minutes. */
  expiresAt: string;
  checkpointId: string;
  step: Step;
  timestamp: string;
  /** The files of the state that would change. */
  state: { name: string; action: 'create' | 'replace' }[];
  roots: RestoreRoot[];
  paths: RestoreRow[];
  totals: RestoreTotals;
  /** How many paths nobody has decided on: with any of them nothing is restored. */
  conflicts: number;
  /** Checkpoints that are newer than this one, newest first: the work that would be left behind. */
  newer: string[];
  /** Damaged checkpoints that are passed over. */
  skipped: SkippedCheckpoint[];
}

/** A part of a restore that is done. */
export interface RestoreStage {
  /** `restore` (all of it), a component's name, or `batch <n>`. */
  name: string;
  /** Its place, from 1 on. */
  number: number;
  /** How many parts there are. */
  of: number;
  /** The files of the state that were put back. */
  files: string[];
  totals: RestoreTotals;
  paths: RestoreRow[];
  /** How many bytes were read back and held against their hashes. */
  verifiedBytes: number;
  /** What was there before the first part, or, of a `progressive` restore, before this one. */
  rescueId: string;
}

/** What `restoreReport` tells as JSON. */
export interface RestoreReport {
  kind: 'plan' | 'result';
  checkpointId: string;
  step: Step;
  timestamp: string;
  planId?: string;
  expiresAt?: string;
  rescueId?: string;
  verifiedBytes?: number;
  roots: RestoreRoot[];
  totals: RestoreTotals;
  state: { name: string; action: string }[];
  /** What is (or was) changed. */
  paths: RestoreRow[];
  /** What differs and stays, and why. */
  kept: RestoreRow[];
  /** What nobody has decided on. */
  conflicts: RestoreRow[];
  /** The work that is left behind. */
  lost: {
    /** The newer checkpoints, with what their ids tell. */
    checkpoints: { checkpointId: string; step?: string; timestamp?: string }[];
    /** From the restored checkpoint to the newest, in milliseconds; `null` if it is not known. */
    ms: number | null;
  };
  skipped: SkippedCheckpoint[];
  stages?: { name: string; totals: RestoreTotals }[];
}

/** What a restore did. */
export type RestoreResult = Omit<RestoreOutcome, 'manifest' | 'summary' | 'paths'> & {
  roots: RestoreRoot[];
  totals: RestoreTotals;
  /** What became of each path that differed; parsed when it is first looked at. */
  readonly paths: RestoreRow[];
  /** The parts of a restore with a strategy or a `check`. */
  stages?: RestoreStage[];
  /** The manifest; parsed when it is first looked at. */
  readonly checkpoint: Checkpoint;
};

/** A checkpoint with its content. */
export type ShowResult = CheckpointInfo & { checkpoint: Checkpoint };

/** What a verification of a run found. */
export type VerifyResult = Omit<VerifyOutcome, 'runs'> & Listing;

/** What a verification of the store found. */
export type VerifyStoreResult = VerifyOutcome;

/** What runs here. */
export interface Versions {
  waymark: string;
  node: string;
  platform: string;
  arch: string;
  /** `glibc` with its version, or `musl`; null where there is but one C library. */
  libc: string | null;
}

/** What a file system really does, and which of Waymark's promises hold on it. */
export type DoctorResult = DoctorOutcome & { versions: Versions };

/** Options of the checkpoints that tasks, guards and triggers take. */
interface TakeOptions {
  /** How many checkpoints of the run stay. Default: the manager's. */
  keepLast?: number | 'all';
  /** The largest state, in bytes; of a task: all results of the run's tasks. Default: the manager's. */
  maxStateBytes?: number;
  /** Which files are captured; `false` captures none. Default: the manager's. */
  capture?: CaptureOptions | false;
  /** The budget of the store, in bytes. Default: the manager's. */
  maxBytes?: number;
}

/** Options of a step, or of a task in a task. */
export interface TaskStepOptions {
  /**
   * What the work depends on: JSON. Its hash is kept with the result; if it is another one on resume, the
   * work is done again. Without it a result is never too old.
   */
  input?: unknown;
}

/** Options of `task`. */
export interface TaskOptions extends TaskStepOptions, TakeOptions {
  /** Forgets all results, and begins anew. Default false. */
  restart?: boolean;
  /** Looked at before each step: one that has begun comes to its end and is recorded. */
  signal?: AbortSignal;
  /** Called with what is worth knowing, when it is found. It may not throw. */
  onNotice?: (notice: TaskNotice) => void;
}

/** What is worth knowing of a task beside its results. */
export interface TaskNotice {
  /**
   * `rerun`: something runs again though its result was stored; `damaged_passed_over`: checkpoints are
   * damaged, so that steps whose results only they had run again; `restarted`.
   */
  kind: 'rerun' | 'damaged_passed_over' | 'restarted';
  /** When it was found, ISO 8601. */
  at: string;
  message: string;
  /** Of `rerun`: what runs again, from the task on. */
  path?: Step[];
  /** Of `rerun`: why. `kind_changed`: it was a step and is a task now, or the other way round. */
  rerun?: 'input_changed' | 'kind_changed';
  /** Of `damaged_passed_over`: which. */
  checkpoints?: string[];
}

/** An error as it is recorded; long texts are cut. */
export interface TaskError {
  name: string;
  message: string;
  code?: string;
  stack?: string;
}

/** What is known of one failure of a step, as it is kept. `docs/supervisor.md`. */
export interface FailureRecord {
  /** Its id. */
  id: string;
  /** When, ISO 8601. */
  at: string;
  /** The step that failed. */
  step: Step;
  /** The part of the step, if it was done in parts. */
  subtask?: string;
  /** Who worked on it. */
  worker: string;
  /** Which attempt it was, from 1, since the step was last done or decided on. */
  attempt: number;
  /** What kind of failure, by the error, the exit code or the signal. */
  class: string;
  /** How the work ended. */
  kind: 'exit' | 'signal' | 'time_limit' | 'stalled' | 'not_started' | 'error' | 'status';
  exitCode: number | null;
  signal: string | null;
  /** What the runner's own record says, of `kind` `status`. */
  status?: string;
  error?: { name?: string; code?: string; message: string; stack?: string };
  /** The end of what it said on its standard error. */
  output?: string;
  /** In one line. */
  message: string;
  /** The same for failures that are alike. */
  signature: string;
  /** How long it worked, in milliseconds. */
  took: number;
  /** Where, and what the run can be put back to. */
  context: {
    checkpointId: string | null;
    host: string;
    pid: number;
    node: string;
    waymark: string;
    command?: string[];
  };
  /** Earlier failures like this one, and what helped then. */
  like: {
    count: number;
    sameStep: number;
    last: string | null;
    recoveredBy: Record<string, number>;
    inProject?: { count: number; runs: number; recoveredBy: Record<string, number> };
  };
  /** What is done about it, by which rule; `used`: how often that was done before, in this series. */
  chosen: {
    kind: 'retry' | 'reassign' | 'decompose' | 'manual' | 'fail';
    rule: string;
    used: number;
    delayMs?: number;
    worker?: string;
    waitMs?: number | 'forever';
    suggest?: string;
  } | null;
  /** What a person decided about it. */
  decided?: RecoveryAnswer;
  /** How it ended, `null` while it is open. `ms`: from the first failure of the series. */
  recovery: { success: boolean; strategy: string; at: string; ms: number } | null;
}

/** How recovering went. */
export interface RecoverySummary {
  /** Failures that are kept. */
  failures: number;
  /** Failures that nothing was done about yet. */
  open: number;
  /** Series of failures that ended well. */
  recovered: number;
  /** Series that were given up, or decided on. */
  lost: number;
  /** How long recovering took altogether. */
  ms: number;
  byStrategy: Record<string, { recovered: number; lost: number; ms: number }>;
  byClass: Record<string, number>;
}

/** What is done about a failure. Exactly one member. */
export type RecoveryStrategy =
  | {
      /** Again, after a while: `limit` times (2), first after `delayMs` (1000), then `factor` (2) times as long, at most `maxDelayMs` (60000); `jitter` (0.5): the share that chance decides. */
      retry: {
        limit?: number;
        delayMs?: number;
        factor?: number;
        maxDelayMs?: number;
        jitter?: number;
      };
    }
  | {
      /** By the next worker that has not tried it; default: of all. */
      reassign: { to?: string[] };
    }
  | {
      /** In parts, by the caller's splitter; passed over without one. */
      decompose: Record<string, never>;
    }
  | {
      /** A person decides; the process waits for it `waitMs` (0), then the run is paused. */
      manual: { waitMs?: number | 'forever'; suggest?: string };
    }
  | {
      /** Nothing: the run has failed. */
      fail: Record<string, never>;
    };

/** A rule: what it is for, which failures it fits (all that is given must), what is tried, in this order. */
export interface RecoveryRule {
  name: string;
  when?: { class?: string[]; step?: Step[]; worker?: string[] };
  do: RecoveryStrategy[];
}

/** How a class of failures is known; all that is given must hold, of a list one. */
export interface FailureClass {
  class: string;
  kinds?: string[];
  exitCodes?: number[];
  signals?: string[];
  codes?: string[];
  text?: string;
}

/** Another way to do a step: another command, more words, other variables. */
export interface RecoveryWorker {
  command?: string[];
  args?: string[];
  env?: Record<string, string>;
}

/** When a worker gets no more work for a while. */
export interface BreakerSettings {
  /** So many failures (5) … */
  failures?: number;
  /** … within so long (10 min) open it … */
  windowMs?: number;
  /** … for so long (1 min), twice as long each time it opens again … */
  openMs?: number;
  /** … at most (15 min). */
  maxOpenMs?: number;
  /** How long a process waits for it (2 min); what takes longer pauses the run. */
  waitMs?: number;
  /** How long a probe may take before another one is let in (10 min). */
  probeMs?: number;
  /** The classes of failures that count. */
  classes?: string[];
}

/** `recovery` of `waymark.config.json`. */
export interface RecoverySettings {
  /** Come before the built-in rules. */
  rules?: RecoveryRule[];
  /** Come before the built-in classes. */
  classes?: FailureClass[];
  /** Besides `default`, which is the command as it was given. */
  workers?: Record<string, RecoveryWorker>;
  breaker?: BreakerSettings;
  /** How long an attempt may take; a step's own limit in the workflow file comes first. */
  timeLimitMs?: number;
  /** How long an attempt may give no sign of life. */
  stallMs?: number;
  /** How long a process that was asked to end is waited for (10 s). */
  graceMs?: number;
  /** A module that exports `split` and `merge`. */
  splitter?: string;
  /** What is put back before a repetition: `all`, `state`, or nothing. */
  restore?: 'all' | 'state' | false;
}

/** A worker's circuit breaker, as it is kept. Times in milliseconds since 1970. */
export interface BreakerState {
  state: 'closed' | 'open' | 'half-open';
  since: number;
  failures: number[];
  openings: number;
  until: number | null;
  probe: { by: string; until: number } | null;
}

/** What a person has to decide. */
export interface RecoveryQuestion {
  failureId: string;
  step: Step;
  /** The part of the step, if it is done in parts. */
  subtask?: string;
  worker: string;
  /** When it was asked, ISO 8601. */
  asked: string;
  message: string;
  /** The report's file. */
  report: string;
  options: ('retry' | 'skip' | 'reassign' | 'decompose' | 'abort')[];
  /** To whom it can be given. */
  workers: string[];
}

/** What a person decided. */
export interface RecoveryAnswer {
  decision: 'retry' | 'skip' | 'reassign' | 'decompose' | 'abort';
  worker?: string;
  note?: string;
  by: string;
  via: 'cli' | 'api' | 'file';
  at: string;
}

/** A part of a step. What else it has is the splitter's own. */
export interface WorkPart {
  name: string;
  /** For the supervisor: another command, more words, other variables. */
  command?: string[];
  args?: string[];
  env?: Record<string, string>;
  // biome-ignore lint/suspicious/noExplicitAny: the splitter's own, as JSON
  [other: string]: any;
}

/** A part that is done, in a run of its own. */
export interface DonePart {
  name: string;
  part: WorkPart;
  run: string;
  checkpointId: string;
  // biome-ignore lint/suspicious/noExplicitAny: what the work gave, as JSON
  result: any;
}

/** One attempt at work. */
export interface WorkAttempt {
  runId: string;
  attempt: number;
  worker: string;
  /** Aborted when the time is over or the work is no longer wanted. */
  signal: AbortSignal;
  /** Of work that is done in parts. */
  part?: WorkPart;
}

/** Options of `attempt`. */
export interface AttemptOptions {
  signal?: AbortSignal;
  timeLimitMs?: number;
  /** Puts things back before a repetition. */
  before?: () => void | Promise<void>;
  split?: (about: {
    runId: string;
    step: Step;
    failure: FailureRecord;
  }) => WorkPart[] | Promise<WorkPart[]>;
  // biome-ignore lint/suspicious/noExplicitAny: what the caller makes of the parts
  merge?: (about: { runId: string; step: Step; parts: DonePart[] }) => any;
  onEvent?: (event: {
    kind: string;
    message: string;
    failure?: FailureRecord;
    ms?: number;
  }) => void;
}

/** What became of work. */
export interface AttemptOutcome<T> {
  /** `paused`: a person has to decide, or no worker is fit (`reason`). `skipped`: a person decided so. */
  how: 'done' | 'skipped' | 'failed' | 'paused';
  /** Of `done`; in parts: `{ result, subtasks }`, with what `merge` gave. */
  result?: T;
  attempts: number;
  worker: string;
  /** What got it done after failures. */
  strategy?: string;
  recoveryMs?: number;
  failure?: FailureRecord;
  reason?: string;
}

/** Failures of a run and what is done about them. */
export interface Recovery {
  readonly runId: string;
  /** All settings, with what was left open. */
  readonly settings: Required<Pick<RecoverySettings, 'rules' | 'classes' | 'workers' | 'graceMs'>> &
    RecoverySettings;
  /** Oldest first; the newest hundred. */
  failures(): Promise<FailureRecord[]>;
  summary(): Promise<RecoverySummary>;
  /** What waits for a decision. */
  question(): Promise<RecoveryQuestion | null>;
  /** All that is not settled, oldest first, with the answers that were not acted upon yet. */
  questions(): Promise<{ question: RecoveryQuestion; answer: RecoveryAnswer | null }[]>;
  /** Decides. Also gives `ERR_NO_QUESTION`, `ERR_DECISION_INVALID`. */
  decide(decision: {
    decision: RecoveryAnswer['decision'];
    worker?: string;
    note?: string;
    failureId?: string;
    by?: string;
  }): Promise<RecoveryAnswer>;
  /** The breakers of all workers. */
  breakers(): Promise<({ worker: string } & BreakerState)[]>;
  /** Closes a worker's breaker. */
  resetBreaker(worker: string): Promise<{ worker: string } & BreakerState>;
  /** Does a piece of work by the rules. Also gives `ERR_ABORTED`, `ERR_RECOVERY_SPLIT_INVALID`. */
  attempt<T>(
    step: Step,
    work: (attempt: WorkAttempt) => T | Promise<T>,
    options?: AttemptOptions,
  ): Promise<AttemptOutcome<T>>;
}

/** What the supervisor tells while it works. */
export interface SupervisorEvent {
  kind:
    | 'resumed'
    | 'begin'
    | 'done'
    | 'failed'
    | 'recovered'
    | 'waits'
    | 'asks'
    | 'complains'
    | 'notice'
    | 'output';
  message: string;
  at: string;
  step?: Step;
  attempt?: number;
  worker?: string;
  ms?: number;
  checkpointId?: string | null;
  failure?: FailureRecord;
  /** Of `output`: what the step said on its standard error. */
  chunk?: Buffer;
}

/** Options of `supervise`. */
export interface SuperviseOptions {
  /** The workflow file. */
  workflow: string;
  /** The runner's command; see `docs/supervisor.md` for what is put into it. */
  command: string[];
  /** Goes on with a run that was begun before; begins one that was not. */
  resume?: boolean;
  /** Goes on after the newest good checkpoint of this step. */
  resumeStep?: Step;
  /** Pauses after this step. */
  pauseAfter?: Step;
  /** What becomes of steps that an earlier supervisor left at work: `wait` for them (default) or `end` them. */
  orphans?: 'wait' | 'end';
  /** Reasons to go on with all the same, as for `planResume`. */
  accept?: string[];
  /** What is done about the others, as for `resume`; `fork` and `abandon` leave the run and are refused. */
  options?: string[];
  onConflict?: OnConflict;
  /** How many steps run side by side at most; default: one per processor. */
  jobs?: number;
  /** Over those of `waymark.config.json`. */
  recovery?: RecoverySettings;
  /** Added to the environment of the steps. */
  env?: Record<string, string>;
  /** The working directory of the steps. */
  cwd?: string;
  /** Ends the step at work, and stops. */
  signal?: AbortSignal;
  /** Whether SIGINT, SIGTERM and SIGHUP of this process are passed on and stop it. Default: false. */
  signals?: boolean;
  onEvent?: (event: SupervisorEvent) => void;
}

/** What a supervised run came to. */
export interface SuperviseReport {
  runId: string;
  workflow: string;
  /** `waiting`: for a decision, an approval, or a worker that is fit. */
  outcome: 'completed' | 'paused' | 'waiting' | 'failed' | 'cancelled' | 'interrupted';
  reason?: string;
  /** The step that it stopped at. */
  step?: Step;
  /** 0 completed, 1 failed or cancelled, 75 paused or waiting, 129, 130 or 143 interrupted. */
  exitCode: number;
  /** When its first supervisor began. */
  started: string;
  ended: string | null;
  /** How many supervisors there were. */
  starts: number;
  /** How long this one took. */
  tookMs: number;
  elapsedMs: number;
  /** How long processes of steps were at work. */
  workMs: number;
  steps: {
    step: Step;
    name: string | null;
    status: 'done' | 'skipped' | 'decided' | 'stopped' | 'open';
    checkpointId?: string | null;
    attempts?: number;
    ms?: number;
    at?: string;
    worker?: string;
    strategy?: string;
  }[];
  failures: FailureRecord[];
  recovery: RecoverySummary;
  question: RecoveryQuestion | null;
}

/** A failure of a step or task. */
export interface TaskFailure extends TaskError {
  /** When, ISO 8601. */
  at: string;
  /** In which attempt. */
  attempt: number;
  /** The checkpoint that was taken of it; `null` while there is none. */
  checkpoint: string | null;
}

/** A step or task as it is recorded. */
export interface TaskNode {
  name: Step;
  kind: 'step' | 'task';
  /** `undone`: it was rolled back by a guard, and will run again. */
  status: 'running' | 'completed' | 'failed' | 'undone';
  /** How often it was begun; an attempt that was killed counts if a checkpoint was taken meanwhile. */
  attempts: number;
  /** When the last attempt began, ISO 8601. */
  started: string;
  /** When it ended. */
  finished?: string;
  /** How long it took, in milliseconds. */
  took?: number;
  /** SHA-256 of its input's canonical JSON. */
  input?: string;
  /** Absent for `undefined`. */
  // biome-ignore lint/suspicious/noExplicitAny: what the caller gave
  result?: any;
  /** Why it ran again though its result was stored. */
  rerun?: 'input_changed' | 'kind_changed';
  progress?: { done: number; total?: number; summary?: string };
  /** The caller's own, of a task. */
  // biome-ignore lint/suspicious/noExplicitAny: what the caller gave
  state?: any;
  /** Why it failed last; absent once it runs again. */
  error?: TaskError;
  /** Its last ten failures, the oldest first. */
  failures?: TaskFailure[];
  /** The checkpoint that made its result durable. */
  checkpoint?: string | null;
  /** Of a task: what is in it, in the order in which it was first begun. */
  steps?: TaskNode[];
}

/** A task of a run, as it is recorded. */
export interface TaskRoot extends TaskNode {
  kind: 'task';
  steps: TaskNode[];
  /** How often it was begun anew (`restart`). */
  round: number;
  /** Its starts: when each began, and when it took its last checkpoint. The last hundred. */
  sessions: { id: string; started: string; last: string }[];
  /** The last fifty. */
  notices?: TaskNotice[];
  /** Damaged checkpoints that were told of. */
  passedOver?: string[];
}

/** How far the steps of a task are; tasks in it are counted by their steps. */
export interface TaskTotals {
  steps: number;
  completed: number;
  failed: number;
  running: number;
  attempts: number;
  /** How long the last attempts took together, in milliseconds. */
  took: number;
}

/** What a step's function is given. */
export interface StepContext {
  name: Step;
  /** From the task on. */
  path: Step[];
  /**
   * The same in every attempt of the same step of the same run with the same input, 64 hex digits: give it
   * to whoever must not do the same twice (an idempotency key).
   */
  key: string;
  /** From 1 on. */
  attempt: number;
  signal: AbortSignal | undefined;
}

/** A step of `parallel`. */
export interface ParallelStep<T> extends TaskStepOptions {
  name: Step;
  run: (step: StepContext) => T | Promise<T>;
}

/** A checkpoint that was taken for a task or a trigger. */
export interface TakenCheckpoint {
  checkpointId: string;
  sequence: number;
  timestamp: string;
}

/**
 * Work in steps whose results are kept: see `docs/tasks.md`. Everything that is recorded is in a checkpoint
 * before the promise is fulfilled.
 */
export interface Task {
  readonly runId: string;
  readonly name: Step;
  /** From the outermost task on. */
  readonly path: Step[];
  readonly status: TaskNode['status'];
  /** What it gave, if it is completed. */
  // biome-ignore lint/suspicious/noExplicitAny: what the caller gave
  readonly result: any;
  readonly attempts: number;
  /** What is worth knowing, of all starts. */
  readonly notices: TaskNotice[];
  /** The caller's own state, any JSON: kept with each checkpoint, and there again on resume. */
  // biome-ignore lint/suspicious/noExplicitAny: what the caller gave
  state: any;

  /**
   * Runs a step, and gives its result; on resume it gives the stored result and does not run it. The result
   * is JSON, and is given as it will be read back. A step that throws is recorded, and runs again on resume
   * (or when it is called again); its error says so (`error.waymark.failure`).
   *
   * @throws {WaymarkError} `ERR_STEP_INVALID`, `ERR_TASK_STEP_TWICE`, `ERR_TASK_NOT_JSON` (input, result),
   * `ERR_TASK_ENDED`, `ERR_TASK_CONFLICT`, `ERR_ABORTED`, and what `create` gives
   */
  step<T>(
    name: Step,
    fn: (step: StepContext) => T | Promise<T>,
    options?: TaskStepOptions,
  ): Promise<T>;

  /** Runs a task in this one; likewise. */
  task<T>(name: Step, fn: (task: Task) => T | Promise<T>, options?: TaskStepOptions): Promise<T>;

  /**
   * Runs steps side by side, at most `limit` at a time, and gives their results in order. If some fail, the
   * others come to their end and are recorded; then the first error is thrown.
   */
  parallel<T>(steps: ParallelStep<T>[], options?: { limit?: number }): Promise<T[]>;

  /** Says how far the task is; recorded with the next checkpoint. `ERR_OPTION_INVALID`, `ERR_TASK_ENDED`. */
  progress(done: number, total?: number, summary?: string): void;

  /** Takes a checkpoint now. `step` is the checkpoint's; default: the task's name. */
  checkpoint(step?: Step): Promise<TakenCheckpoint>;

  /** As the manager's `guard`; a rollback also forgets the results of what was done since. */
  guard<T>(
    name: Step,
    fn: (guard: { checkpointId: string }) => T | Promise<T>,
    options?: TaskGuardOptions,
  ): Promise<T>;

  /** Ends a task that was begun without a function. Waits for the steps under way. */
  complete(result?: unknown): Promise<void>;
  /** Ends it as failed: on resume it goes on. Waits for the steps under way. */
  fail(error: unknown): Promise<void>;

  /** How far its steps are. */
  totals(): TaskTotals;
  /** It and all in it, as recorded; a copy. */
  tree(): TaskNode;
}

/** Options of a task's `guard`. */
export interface TaskGuardOptions {
  /** Whether the run is put back to the checkpoint if the function throws. Default false. */
  rollback?: boolean;
  /** How it is put back: options of `restore`. */
  restore?: Pick<
    RestoreOptions,
    'files' | 'onConflict' | 'only' | 'capture' | 'maxBytes' | 'strategy' | 'batch' | 'check'
  >;
}

/** Options of `guard`. */
export interface GuardOptions extends TaskGuardOptions, TakeOptions {
  /** The checkpoint's state. Default `{}`. */
  state?: unknown;
  /** Stops the checkpoint from being taken; nothing is run then. */
  signal?: AbortSignal;
}

/** A thing that a drill rehearses. */
export type DrillScenario =
  | 'agent-crash'
  | 'crashes'
  | 'damaged-state'
  | 'damaged-checkpoint'
  | 'missing-store'
  | 'full-disk'
  | 'lost-worktree'
  | 'human-edit';

/** Options of `drill`. */
export interface DrillOptions extends SignalOptions {
  /** What is rehearsed. Default: all. */
  scenarios?: DrillScenario[];
  /** How many times a process is killed in each of the two scenarios that kill. Default 3. */
  rounds?: number;
  /** The folder in which the copies are made; room for six times the run is asked for. Default: the system's for temporary files. */
  folder?: string;
  /** Whether the copies stay, to be looked at. Default false. */
  keep?: boolean;
  /** Called before each scenario. */
  onProgress?: (progress: { scenario: DrillScenario; number: number; of: number }) => void;
}

/** How a scenario of a drill went. */
export interface DrillOutcome {
  name: DrillScenario;
  /** What happens, in words. */
  title: string;
  /** Whether the run could go on, on what its checkpoint holds. False if it was skipped. */
  survived: boolean;
  /** Why it was not rehearsed with this run. */
  skipped?: string;
  /** What was wrong in the end. */
  problem?: string;
  /** How long putting the run back took, in milliseconds. */
  took?: number;
  /** The checkpoint that it went on from. */
  checkpointId?: string;
  step?: Step;
  /** What would have been lost, in words: steps to be done again, files. */
  lost: string[];
  /** What was seen on the way, in words. */
  told: string[];
}

/** What `drill` gives. */
export interface DrillResult {
  runId: string;
  /** The newest checkpoint, with which was rehearsed. */
  checkpointId: string;
  step: Step;
  /** How many checkpoints the run has. */
  checkpoints: number;
  /** Captured folders that lie out of the project and were left alone. */
  notRehearsed: string[];
  /** Where the copies are, with `keep`. */
  folder?: string;
  scenarios: DrillOutcome[];
  /** How many were rehearsed, and how many of them survived. */
  rehearsed: number;
  survived: number;
}

/** What tasks and guards say on an error that went through them, as its member `waymark`. */
export interface ErrorNote {
  /** Of a task: the step that failed, and the checkpoint that tells of it, or why there is none. */
  failure?: { runId: string; path: Step[]; checkpointId?: string; notRecorded?: unknown };
  /** Of a guard: the checkpoint before it. */
  checkpointId?: string;
  /** Of a guard: whether the run was put back. */
  rolledBack?: boolean;
  /** Of a guard: what the rollback did. */
  restored?: RestoreResult;
  /** Of a guard: why the rollback was refused; `rolledBack` is false then. */
  refused?: unknown;
}

/** Why an automatic checkpoint is due. */
export type AutoTrigger = 'phase' | 'progress' | 'artifacts' | 'time';

/** Options of `auto`: which triggers there are. */
export interface AutoOptions extends TakeOptions {
  /** After so much time at work, in milliseconds. */
  everyActiveMs?: number;
  /** A longer time between two ticks is none at work, in milliseconds. Default 5 minutes. */
  idleGapMs?: number;
  /** When so many artifacts more or less are in the registry, or so many bytes (`metadata.size`). */
  artifacts?: { count?: number; bytes?: number };
  /** When so much more is done: a share above 0, at most 1. */
  progress?: number;
  /** When the phase is another one. Default false. */
  phases?: boolean;
  /** Whether `tick` fails with the checkpoint, which otherwise stays due. Default false. */
  strict?: boolean;
  /** The task that is at work: the checkpoints are its own, and carry its results. */
  task?: Task;
  /** The clock, in milliseconds. Default `Date.now`. */
  now?: () => number;
}

/** What a runner tells at a tick; what it leaves out is as it was. */
export interface AutoTick {
  /** The step that a checkpoint is taken of; needed without a task. */
  step?: Step;
  /** The state that a checkpoint takes. Default `{}`. */
  state?: unknown;
  phase?: string;
  /** The share that is done, from 0 to 1. */
  progress?: number;
  /** The registry, or its size. Default: `artifact-registry.json`, read where it has changed. */
  registry?: { count: number; bytes?: number } | { artifacts: JsonObject };
}

/** What a tick did. */
export interface AutoResult {
  taken: boolean;
  /** The trigger that tells most, if one is due. */
  trigger?: AutoTrigger;
  /** All that are due. */
  triggers: AutoTrigger[];
  /** The time at work since the last checkpoint, in milliseconds. */
  activeMs: number;
  checkpoint?: TakenCheckpoint;
  /** Why it could not be taken; it stays due. */
  error?: unknown;
}

/** Automatic checkpoints of a run. Nothing happens between two ticks: there is no timer. */
export interface Auto {
  /** The time at work since the last checkpoint, up to the last tick, in milliseconds. */
  readonly activeMs: number;
  /** Takes a checkpoint if one is due. The first tick tells where to count from. */
  tick(tick: AutoTick): Promise<AutoResult>;
}

/** Something that happened in a run. */
export interface TimelineEntry {
  /** ISO 8601. */
  time: string;
  /**
   * `run`, `task`, `step`, `failure`, `checkpoint`, `damaged`, `restore`, `pause`, `rerun`, `restarted`,
   * `damaged_passed_over`; or the name of an event.
   */
  kind: string;
  /** In words. */
  what: string;
  /** Of tasks and what is in them: from the task on. */
  path?: Step[];
  step?: Step;
  status?: TaskNode['status'];
  attempts?: number;
  finished?: string;
  /** In milliseconds. */
  took?: number;
  progress?: TaskNode['progress'];
  rerun?: TaskNode['rerun'];
  error?: TaskFailure;
  checkpointId?: string;
  /** Of `damaged_passed_over`. */
  checkpoints?: string[];
  /** Of a checkpoint: its manifest's size in bytes. */
  size?: number;
  /** Of a restore: only that it was is known, by what descends from what; not when. */
  inferred?: true;
  /** Of an event: its number. */
  seq?: number;
  data?: unknown;
}

/** An event of the audit log. */
export interface TimelineEvent {
  seq: number;
  time: string | number;
  event: string;
  run?: string;
  runs?: string;
  checkpoint?: string;
  data?: unknown;
}

/** What happened in a run. */
export interface Timeline {
  runId: string;
  /** Of `run.json`; `null` if it tells none. */
  status: string | null;
  /** In the order in which they happened. */
  entries: TimelineEntry[];
  /** The tasks of the run, as recorded. */
  tasks: TaskRoot[];
  totals: {
    checkpoints: number;
    damaged: number;
    restores: number;
    failures: number;
    pauses: number;
    /** How long all pauses were, in milliseconds. */
    paused: number;
    /** How many steps tasks have. */
    steps: number;
    completed: number;
    /** How long their last attempts took together, in milliseconds. */
    took: number;
  };
}

/** The state of a run; `docs/run-states.md` has the table of legal moves. */
export type RunStateName =
  | 'pending'
  | 'running'
  | 'paused'
  | 'interrupted'
  | 'stale'
  | 'failed'
  | 'completed'
  | 'cancelled';

/** Who holds a run. */
export interface LeaseHolder {
  /** Who it is, in words. */
  holder: string;
  pid?: number;
  host?: string;
  /** Since when, ISO 8601. */
  since?: string;
  /** Until when, unless it is renewed, ISO 8601. */
  until?: string;
}

/** A pause that is asked for. */
export interface PauseRequest {
  reason?: string;
  /** When it was asked for, ISO 8601. */
  at: string;
  /** Who asked. */
  by: string;
  /** Not before this step is done. */
  afterStep?: Step;
}

/** What is known of a run's state. */
export interface RunState {
  runId: string;
  state: RunStateName;
  /** The runner's own word, from `run.json`, as it is; `null` if there is none. */
  status: string | null;
  /** When it came to be in this state, ISO 8601. */
  since: string;
  /** Who moved it, if Waymark did. */
  by?: string;
  /** Why. */
  reason?: string;
  /** How often it was paused. */
  pauses: number;
  /** How often it went on after it had stopped. */
  resumes: number;
  /** How often it was cut off. */
  interruptions: number;
  /** How long processes of its steps were at work, in milliseconds; of one that was cut off up to its last sign of life. */
  workMs: number;
  /** When it began, ISO 8601. */
  elapsedFrom: string;
  /** How long ago that is, or was when it ended, in milliseconds. */
  elapsedMs: number;
  /** The step that was done last, as far as Waymark saw it. */
  lastStep?: Step;
  /** The step that `run.json` names, where Waymark saw none. */
  currentStep?: Step;
  /** How many steps of the workflow are behind it. */
  progress?: { done: number; total: number };
  /** The step that is at work; of an interrupted run the one that was. A runner that resumes by itself names none. */
  underWay?: { step?: Step; since: string; pid: number; host?: string; started?: string | null };
  /** What runs its steps. */
  runner?: { script?: string; workflow?: string };
  /** How it was cut off: its process is gone, its lease expired, the machine was started anew, or nothing was heard. */
  interruption?: {
    why: 'dead' | 'expired' | 'rebooted' | 'quiet';
    /** The last sign of life, ISO 8601. */
    at: string;
    holder?: string;
    pid?: number;
    host?: string;
  };
  /** A pause that is asked for. */
  pauseRequest?: PauseRequest;
  /** The pause that was honoured; absent of a run that only waits for somebody. */
  pausedFor?: PauseRequest;
  /** Why it is stale. */
  stale?: unknown[];
  /** What it was in before a plan found it stale, and is again once a plan does not. */
  staleFrom?: { state: RunStateName; since: string; by?: string; reason?: string };
  /** Who holds it now. */
  holder?: LeaseHolder;
}

/** A run among others. */
export interface RunStatus extends RunState {
  /** When something happened last, ISO 8601. */
  changedAt: string;
  /** How long ago that is, in milliseconds. */
  ageMs: number;
  /** Whether it can go on from a checkpoint now. */
  resumable: boolean;
  /** Why not. */
  why?: string;
  /** A command that goes on with it. */
  way?: string;
  /** Its newest good checkpoint, unless it is over. */
  checkpoint?: { checkpointId: string; step: Step; timestamp: string };
  /** What its newest checkpoint holds, in bytes, as far as it is known without reading it; `null` if it is not. */
  bytes: number | null;
  /** What of its state can't be read. */
  problem?: string;
}

/** How a run's state is read. */
export interface RunStateOptions {
  /**
   * After so many milliseconds without a sign of life a run that says it runs, and that nobody holds, counts as
   * interrupted. Default: 15 minutes.
   */
  quietMs?: number;
}

/** How runs are looked at. */
export interface RunsOptions extends RunStateOptions {
  /** Only those in these states. */
  states?: RunStateName[];
  /** Whether runs that were cut off are marked as such. Default: `true`. */
  note?: boolean;
  signal?: AbortSignal;
}

/** How a run is moved from one state to another. */
export interface MoveRunOptions {
  /** Who moves it. Default: the user. */
  by?: string;
  /** Why. */
  reason?: string;
  /** A step was named: then a run that is completed or cancelled may run again. Default: `false`. */
  again?: boolean;
  /** Why it is stale. */
  stale?: unknown[];
  /** What it was in before a plan found it stale, and is again once a plan does not. */
  staleFrom?: { state: RunStateName; since: string; by?: string; reason?: string };
}

/** How a pause is asked for. */
export interface PauseOptions {
  /** Why. */
  reason?: string;
  /** Not before this step is done. */
  afterStep?: Step;
  /** Who asks. Default: the user. */
  by?: string;
  /** The workflow file, which has to list the step. Default: the one that the run names, if it is there. */
  workflow?: string;
}

/** What became of a pause. */
export interface PauseResult {
  runId: string;
  state: RunStateName;
  /** Whether it is still to come: a step is at work, or one is waited for. */
  pending: boolean;
  afterStep?: Step;
  /** Who is at work. */
  holder?: LeaseHolder;
}

/** How a step boundary is told. The options of `create` are for the checkpoint of a pause. */
export interface BoundaryOptions extends CreateOptions {
  /** The workflow file, by whose order it is told whether a step that is waited for was passed. */
  workflow?: string;
}

/** Whether a run pauses at a step boundary. */
export type BoundaryResult =
  | { paused: false }
  | { paused: true; reason?: string; by: string; at: string; checkpoint: CreateResult };

/**
 * Everything Waymark does, for one project. It holds no resources: there is nothing to close.
 *
 * Asynchronous methods leave the event loop free; their `…Sync` twins block, and work in
 * `process.on('exit')`. Options are checked strictly: `ERR_OPTION_UNKNOWN`, `ERR_OPTION_INVALID`.
 * Every method can give `ERR_RUN_ID_INVALID`, `ERR_RUNS_DIR_NOT_FOUND`, `ERR_RUN_NOT_FOUND`,
 * `ERR_PATH_SYMLINK`, `ERR_CONFIG_INVALID`, `ERR_IO`, and the asynchronous ones `ERR_ABORTED`; those that write also
 * `ERR_RUN_BUSY`, `ERR_RUN_READ_ONLY`, `ERR_DISK_FULL`, `ERR_NOT_DURABLE`.
 */
/** How a lease is taken. */
export interface LeaseOptions {
  /** Who holds it, for others to read; the script's name unless given. */
  holder?: string;
  /** How long it lasts without renewal, in milliseconds, from 10 to 30 days; 60,000 unless given. */
  ttlMs?: number;
  /** Whether a thread renews it every third of that time, whatever the event loop does; true unless given. */
  keep?: boolean;
  /** The token that the caller has already: the lease is prolonged, if it is still his. */
  token?: number;
  /** Whether it is taken from a live holder, and in the place of a damaged one; false unless given. */
  force?: boolean;
}

/**
 * The right to go on with a run. While it is held, what this process records of the run is recorded by it; once
 * somebody else has taken it over that is refused (`ERR_LEASE_LOST`).
 */
export interface Lease {
  readonly runId: string;
  readonly holder: string;
  /** The fencing token: higher than any before it. */
  readonly token: number;
  /** Since when, ISO 8601. */
  readonly since: string;
  /** Who held it before and had not given it back. */
  readonly tookOver?: LeaseStanding;
  /** Whether it is somebody else's by now, or was given back; looks at the run each time. */
  readonly lost: boolean;
  /** What the environment of a child process must hold for it to record by this lease. */
  readonly environment: { WAYMARK_LEASE: string };
  /** Renews it; one that has expired too, if nobody took it. Gives `ERR_LEASE_LOST`. */
  renew(): Promise<{ expires: string }>;
  /** Renews it, blocking. */
  renewSync(): { expires: string };
  /** Gives it back; false if it was not this one's any more. */
  release(): Promise<boolean>;
  /** Gives it back, blocking. */
  releaseSync(): boolean;
}

/** What a change of a record is about. */
export interface RecordOptions {
  /** It must still have this revision; null: it must not be there. Unless given, whatever is there, even if damaged. */
  revision?: string | null;
}

/** A record that was read. */
export interface StoredRecord<T = unknown> {
  value: T;
  /** Tells this writing of it from every other. */
  revision: string;
}

/**
 * Small durable JSON documents of a run, or of the store, by name: 1 to 64 of `a-z`, `0-9` and `-`, then, if wished,
 * a dot and as many of those, `.` and `_`. At most 1 MiB each (`ERR_RECORD_TOO_LARGE`). They check themselves
 * (`ERR_RECORD_DAMAGED`), and are no part of checkpoints.
 */
export interface Records {
  /** Reads one; null if there is none. */
  read<T = unknown>(name: string): Promise<StoredRecord<T> | null>;
  /** Reads one, blocking. */
  readSync<T = unknown>(name: string): StoredRecord<T> | null;
  /** Writes one. Gives `ERR_RECORD_CHANGED` if something else is there than was expected. */
  write(name: string, value: unknown, options?: RecordOptions): Promise<{ revision: string }>;
  /** Writes one, blocking. */
  writeSync(name: string, value: unknown, options?: RecordOptions): { revision: string };
  /**
   * Changes one so that nobody's change is lost: `change` is given what is there (undefined if nothing is) and gives
   * what shall be, or undefined to leave it; it is called again when somebody else was quicker.
   */
  change<T = unknown>(
    name: string,
    change: (value: T | undefined) => T | undefined | Promise<T | undefined>,
  ): Promise<T | undefined>;
  /** Changes one, blocking. */
  changeSync<T = unknown>(
    name: string,
    change: (value: T | undefined) => T | undefined,
  ): T | undefined;
  /** Removes one; false if there was none. */
  remove(name: string, options?: RecordOptions): Promise<boolean>;
  /** Removes one, blocking. */
  removeSync(name: string, options?: RecordOptions): boolean;
  /** The names of all, in order; damaged ones too. */
  list(): Promise<string[]>;
  /** The names of all, blocking. */
  listSync(): string[];
}

export declare class CheckpointManager {
  /** @throws {WaymarkError} `ERR_OPTION_UNKNOWN`, `ERR_OPTION_INVALID` */
  constructor(options?: CheckpointManagerOptions);

  /**
   * Takes the lease of a run. Gives `ERR_LEASE_HELD` at once (with `lease`: who, since when, until when) if somebody
   * holds it; whose process is gone, or whose time is over, is followed at once. Also gives `ERR_LEASE_LOST` and
   * `ERR_LEASE_DAMAGED`.
   */
  lease(runId: string, options?: LeaseOptions): Promise<Lease>;
  /** Takes the lease of a run, blocking. */
  leaseSync(runId: string, options?: LeaseOptions): Lease;
  /** Tells how the lease of a run stands; null if there never was one. */
  readLease(runId: string): Promise<LeaseStanding | null>;
  /** Tells how the lease of a run stands, blocking. */
  readLeaseSync(runId: string): LeaseStanding | null;
  /** The records of a run; null: those of the store. */
  records(runId: string | null): Records;

  /** The folder that holds all runs, as it is found (for a run). */
  runsDir(runId?: string): string;

  /**
   * Takes a checkpoint. Also gives `ERR_STEP_INVALID`, `ERR_STATE_NOT_JSON`, `ERR_STATE_TOO_DEEP`,
   * `ERR_STATE_TOO_LARGE`, `ERR_RUN_RECORD_MISSING`, `ERR_RUN_RECORD_DAMAGED`,
   * `ERR_REGISTRY_DAMAGED`, `ERR_FILE_TOO_LARGE`, `ERR_JOURNAL_DAMAGED`.
   */
  create(
    runId: string,
    step: Step,
    state?: unknown,
    options?: CreateOptions,
  ): Promise<CreateResult>;
  /** Takes a checkpoint, blocking. */
  createSync(runId: string, step: Step, state?: unknown, options?: CreateOptions): CreateResult;

  /**
   * Tells what a restore would do, and changes nothing but a note of the plan, which `restore` can be held
   * to. Also gives `ERR_CHECKPOINT_NOT_FOUND`, `ERR_CHECKPOINT_DAMAGED`, `ERR_NO_CHECKPOINT`,
   * `ERR_NO_GOOD_CHECKPOINT`.
   */
  planRestore(runId: string, options?: PlanRestoreOptions): Promise<RestorePlan>;
  /** Tells what a restore would do, blocking. */
  planRestoreSync(runId: string, options?: PlanRestoreSyncOptions): RestorePlan;

  /**
   * Puts a run back to a checkpoint: its state, and the files that were captured with it. What is there is
   * kept first, in a rescue checkpoint; all is verified; it is whole or not there at all. See
   * `docs/restore.md`. Also gives `ERR_CHECKPOINT_NOT_FOUND`, `ERR_CHECKPOINT_DAMAGED`, `ERR_NO_CHECKPOINT`,
   * `ERR_NO_GOOD_CHECKPOINT`, `ERR_RUN_LOCKED`, `ERR_RESTORE_CONFLICT`, `ERR_RESTORE_UNVERIFIED`,
   * `ERR_RESTORE_CHECK_FAILED`, `ERR_PLAN_STALE`, `ERR_PLAN_NOT_FOUND`, `ERR_STORE_BUDGET`.
   */
  restore(runId: string, options?: RestoreOptions): Promise<RestoreResult>;
  /** Puts a run back to a checkpoint, blocking, all as one. */
  restoreSync(runId: string, options?: RestoreSyncOptions): RestoreResult;

  /**
   * Puts back what was there before the last restore; once more, and it is undone itself. Also gives
   * `ERR_NOTHING_TO_UNDO` and what `restore` gives.
   */
  undo(runId: string, options?: UndoOptions): Promise<RestoreResult>;
  /** Puts back what was there before the last restore, blocking. */
  undoSync(runId: string, options?: UndoSyncOptions): RestoreResult;

  /** Lists the checkpoints of a run, newest first; `[]` for an unknown run. */
  list(
    runId: string,
    options: ListOptions & { includeDamaged: true },
  ): Promise<(CheckpointInfo | DamagedCheckpoint)[]>;
  list(runId: string, options?: ListOptions): Promise<CheckpointInfo[]>;
  /** Lists the checkpoints of a run, blocking. */
  listSync(
    runId: string,
    options: ListOptions & { includeDamaged: true },
  ): (CheckpointInfo | DamagedCheckpoint)[];
  listSync(runId: string, options?: ListOptions): CheckpointInfo[];

  /** Reads one checkpoint, checked. Also gives `ERR_CHECKPOINT_NOT_FOUND`, `ERR_CHECKPOINT_DAMAGED`. */
  show(runId: string, checkpointId: string, options?: SignalOptions): Promise<ShowResult>;
  /** Reads one checkpoint, blocking. */
  showSync(runId: string, checkpointId: string): ShowResult;

  /**
   * Finds checkpoints of all runs, a page at a time, the newest first. Answered from an index that follows
   * what happens; manifests are not read. Also gives `ERR_INDEX`.
   */
  find(options?: FindOptions): Promise<QueryPage>;
  /** Finds checkpoints of all runs, blocking. */
  findSync(options?: FindOptions): QueryPage;
  /** Streams checkpoints of all runs. What is taken or dropped meanwhile may be in it or not. */
  query(options?: QueryOptions): AsyncGenerator<QueryRow, void, undefined>;
  /**
   * The checkpoints of a run as a tree: what descends from what, with the runs that were forked from them
   * and those that do a part of the work.
   */
  tree(runId: string, options?: SignalOptions): Promise<RunTree>;
  /**
   * Begins another run where a run was at a checkpoint: `run.json` and the registry under the new id, the other
   * JSON files, the files captured from the run's own folder, and a first checkpoint. What lies in the store is
   * shared. Artifacts elsewhere and the workspace are not touched. The new run is there as a whole or not at all,
   * and the run that it comes from goes on as it was. Also gives `ERR_RUN_EXISTS`, `ERR_CHECKPOINT_NOT_FOUND`,
   * `ERR_CHECKPOINT_DAMAGED`, `ERR_NO_CHECKPOINT`, `ERR_NO_GOOD_CHECKPOINT`, `ERR_CHANGES_DAMAGED`,
   * `ERR_FACTS_INVALID` (with the fact of what it comes from they are too many), `ERR_STORE_BUDGET`,
   * `ERR_STORE_BUSY`, `ERR_STORE_READ_ONLY`.
   */
  fork(runId: string, newRunId: string, options?: ForkOptions): Promise<Forked>;
  /** Begins another run where a run was at a checkpoint, blocking. */
  forkSync(runId: string, newRunId: string, options?: ForkOptions): Forked;

  /**
   * Tells whether a run can go on, from which checkpoint and with which step, and what is not as it was, each with
   * its reason and what can be done about it. Changes nothing but the mark of a checkpoint that is found stale.
   * Also gives `ERR_CHECKPOINT_NOT_FOUND`, `ERR_NO_CHECKPOINT`, `ERR_NO_GOOD_CHECKPOINT`,
   * `ERR_WORKFLOW_NOT_FOUND`, `ERR_WORKFLOW_INVALID`.
   */
  planResume(runId: string, options?: PlanResumeOptions): Promise<ResumePlan>;
  /**
   * Makes a run ready to go on: does what is asked for about the reasons of its plan, and restores. What was
   * accepted and done is recorded in the checkpoint that follows. Also gives `ERR_RUN_STALE` (with `reasons` and
   * `options`), `ERR_RESUME_OPTION`, `ERR_WORKFLOW_STEP_MISSING` and what `planResume` and `restore` give.
   */
  resume(runId: string, options?: ResumeOptions): Promise<ResumeOutcome>;

  /** Makes the index of checkpoints anew from the runs. It is made by itself where it is missing. */
  rebuildIndex(options?: ProgressOptions): Promise<RebuildOutcome>;

  /**
   * Says that a checkpoint is worked from now: `created` or `restored` becomes `active`. Durable when it
   * returns, like every change of a checkpoint; the manifest stays as it is. All six also give
   * `ERR_CHECKPOINT_NOT_FOUND`, `ERR_CHECKPOINT_DAMAGED`, `ERR_CHANGES_DAMAGED`; a move that is not legal
   * gives `ERR_STATE_TRANSITION`, which names the way there.
   */
  activate(
    runId: string,
    checkpointId: string,
    options?: SignalOptions,
  ): Promise<ChangedCheckpoint>;
  /** Says that a checkpoint is worked from now, blocking. */
  activateSync(runId: string, checkpointId: string, options?: SignalOptions): ChangedCheckpoint;
  /** Says that what it was taken for is done: `active` becomes `completed`. */
  complete(
    runId: string,
    checkpointId: string,
    options?: CompleteOptions,
  ): Promise<ChangedCheckpoint>;
  /** Says that what it was taken for is done, blocking. */
  completeSync(runId: string, checkpointId: string, options?: CompleteOptions): ChangedCheckpoint;
  /** Says that what it was taken for failed, and why: `created` or `active` becomes `failed`. */
  fail(
    runId: string,
    checkpointId: string,
    error?: FailureReason,
    options?: FailOptions,
  ): Promise<ChangedCheckpoint>;
  /** Says that what it was taken for failed, blocking. */
  failSync(
    runId: string,
    checkpointId: string,
    error?: FailureReason,
    options?: FailOptions,
  ): ChangedCheckpoint;
  /** Changes what is said of it. Also gives `ERR_FACTS_INVALID`. */
  update(
    runId: string,
    checkpointId: string,
    facts: FactsUpdate,
    options?: SignalOptions,
  ): Promise<ChangedCheckpoint>;
  /** Changes what is said of it, blocking. */
  updateSync(
    runId: string,
    checkpointId: string,
    facts: FactsUpdate,
    options?: SignalOptions,
  ): ChangedCheckpoint;
  /** Keeps it whatever the retention policy says. Pinned again, it has the new reason and time. */
  pin(runId: string, checkpointId: string, options: PinOptions): Promise<ChangedCheckpoint>;
  /** Keeps it whatever the retention policy says, blocking. */
  pinSync(runId: string, checkpointId: string, options: PinOptions): ChangedCheckpoint;
  /** Lets the policy decide again; without a pin nothing happens. */
  unpin(runId: string, checkpointId: string, options?: SignalOptions): Promise<ChangedCheckpoint>;
  /** Lets the policy decide again, blocking. */
  unpinSync(runId: string, checkpointId: string, options?: SignalOptions): ChangedCheckpoint;

  /**
   * Checks that all checkpoints of a run, or one, are whole: their checksums, and that all they need is
   * in the store; with `data` also what it holds. Of all of them, also that the audit log is as it was
   * written (`events`). Damage is a result, no error: it names the checkpoints and files that it touches.
   * Nothing is deleted.
   */
  verify(runId: string, options?: VerifyOptions): Promise<VerifyResult>;
  /** Checks checkpoints, blocking. */
  verifySync(runId: string, options?: VerifyOptions): VerifyResult;

  /**
   * Checks the whole store: its packs and its index, and all checkpoints of all folders of runs that
   * need it; with `data` also what no checkpoint needs.
   */
  verifyStore(options?: VerifyStoreOptions): Promise<VerifyStoreResult>;
  /** Checks the whole store, blocking. */
  verifyStoreSync(options?: VerifyStoreOptions): VerifyStoreResult;

  /**
   * Reads the audit log of the project, oldest first: what all processes did in it. What was handed out is
   * durable. Lines that are not what was written are left out, with a process warning.
   *
   * Throws `ERR_EVENTS_GONE` if events behind `after` are not kept any more (64 MiB are), `ERR_EVENTS_AHEAD` if the
   * log has not come that far.
   */
  events(options?: EventsOptions): Promise<AuditEvent[]>;
  /** As `events`, but blocks. */
  eventsSync(options?: EventsOptions): AuditEvent[];
  /**
   * Follows the audit log, events of other processes too, each once and in order. It ends when `signal` is
   * aborted, and keeps the process alive while somebody waits for the next event. Started again behind the
   * last `seq` that was handled, it loses nothing. Throws as `events` does.
   */
  followEvents(options?: FollowEventsOptions): AsyncGenerator<AuditEvent, void, undefined>;
  /**
   * Numbers of what all processes did, added up from the audit log, and what the store takes. Goes on where the
   * call before ended.
   */
  metrics(options?: MetricsOptions): Promise<Metrics>;
  /** The same as Prometheus reads it: text, format 0.0.4. */
  prometheus(options?: MetricsOptions): Promise<string>;
  /**
   * Whether one could go on: what fails, what is damaged, old or not verified, and which thresholds that crosses.
   * Throws `ERR_OPTION_INVALID` for thresholds that can't be, `ERR_CONFIG_INVALID` for those of the configuration.
   */
  health(options?: HealthOptions): Promise<Health>;

  /**
   * Hears of what this manager's operations did, after it is done and in the log, before their promise is
   * settled. A listener that throws is reported by `process.emitWarning` and changes nothing. The same events
   * are published in `node:diagnostics_channel`, as `waymark:created` and so on, for all managers.
   */
  on(event: EventKind, listener: (event: AuditEvent) => void): this;
  /** As `on`, for the first one only. */
  once(event: EventKind, listener: (event: AuditEvent) => void): this;
  /** Takes a listener back. */
  off(event: EventKind, listener: (event: AuditEvent) => void): this;

  /**
   * Takes back the space of objects that no checkpoint needs. Also gives `ERR_STORE_BUSY`,
   * `ERR_STORE_ROOT_MISSING`, `ERR_STORE_ROOTS_DAMAGED`, `ERR_STORE_GC_STOPPED`.
   */
  gc(options?: GcOptions): Promise<GcOutcome>;
  /** Takes back space, blocking. */
  gcSync(options?: GcOptions): GcOutcome;

  /**
   * Drops the checkpoints of a run that the retention policy does not keep, or archives them. Each
   * decision comes with all its reasons. Damaged ones neither count nor go.
   */
  prune(runId: string, options?: PruneOptions): Promise<PruneOutcome & CollectResult>;
  /** Drops checkpoints, blocking. */
  pruneSync(runId: string, options?: PruneOptions): PruneOutcome & CollectResult;

  /** Lists the archived checkpoints of a run, or of all runs, newest first. */
  archived(runId?: string, options?: SignalOptions): Promise<ShelvedCheckpoint[]>;
  /** Lists archived checkpoints, blocking. */
  archivedSync(runId?: string, options?: SignalOptions): ShelvedCheckpoint[];

  /**
   * Brings an archived checkpoint back into its run, byte for byte; a run that is gone is made anew. All
   * of the archive is checked before anything is written. The archive stays unless `remove` is given: the
   * next prune may drop the checkpoint again. Also gives `ERR_CHECKPOINT_NOT_FOUND`,
   * `ERR_ARCHIVE_DAMAGED`, `ERR_ARCHIVE_FORMAT`, `ERR_IMPORT_CONFLICT`, `ERR_STORE_BUDGET`.
   */
  unarchive(
    runId: string,
    checkpointId: string,
    options?: UnarchiveOptions,
  ): Promise<ImportOutcome>;
  /** Brings an archived checkpoint back, blocking. */
  unarchiveSync(runId: string, checkpointId: string, options?: UnarchiveOptions): ImportOutcome;

  /**
   * Drops old failed runs: their whole folders. Never one in progress, nor one whose
   * `run.json.lock` a live process holds.
   */
  cleanup(options?: CleanupOptions): Promise<CleanupOutcome & CollectResult>;
  /** Drops old failed runs, blocking. */
  cleanupSync(options?: CleanupOptions): CleanupOutcome & CollectResult;

  /**
   * Tells what a file system really does, and which of Waymark's promises hold on it, by trying it
   * out in a temporary folder there. Works without a run and without a project; what is wrong with
   * the disk is a result, no error. Gives `ERR_PATH_INVALID`, `ERR_PATH_NOT_DIRECTORY` and `ERR_IO`
   * for a `path` that can't be looked at, and `ERR_ABORTED`.
   */
  doctor(options?: DoctorOptions): Promise<DoctorResult>;
  /** Tells what a file system really does, blocking. */
  doctorSync(options?: DoctorOptions): DoctorResult;

  /**
   * Tells what differs between two checkpoints of a run, or between one and the disk as it is now
   * (without `to`). Writes nothing. Also gives `ERR_CHECKPOINT_NOT_FOUND`, `ERR_CHECKPOINT_DAMAGED`
   * (also where the store lacks what the checkpoint needs), and against the disk
   * `ERR_RUN_RECORD_DAMAGED`, `ERR_REGISTRY_DAMAGED`.
   */
  diff(runId: string, from: string, to?: string | null, options?: DiffOptions): Promise<DiffResult>;
  /** Tells what differs, blocking. */
  diffSync(runId: string, from: string, to?: string | null, options?: DiffOptions): DiffResult;

  /**
   * Lists the captured files of a checkpoint, a folder before what is in it, by name. They are read in
   * pages while the iteration goes on; errors come from the iteration: `ERR_CHECKPOINT_NOT_FOUND`,
   * `ERR_CHECKPOINT_DAMAGED`, `ERR_FILE_NOT_IN_CHECKPOINT` for `under`, `ERR_OPTION_INVALID` for a
   * `root` that was not captured.
   */
  files(
    runId: string,
    checkpointId: string,
    options?: FilesOptions,
  ): AsyncGenerator<CapturedFile, void, void>;
  /** Lists the captured files, blocking, all at once. */
  filesSync(runId: string, checkpointId: string, options?: FilesOptions): CapturedFile[];

  /**
   * Reads one captured file, held against its hash. `path` is as `files` gives it (`pathBytes` where it
   * is not UTF-8). Also gives `ERR_FILE_NOT_IN_CHECKPOINT` (with what there is), `ERR_FILE_WITHHELD`
   * for a secret, `ERR_FILE_SKIPPED` for what could not be captured, `ERR_FILE_TOO_LARGE`,
   * `ERR_CHECKPOINT_NOT_FOUND`, `ERR_CHECKPOINT_DAMAGED`.
   */
  readFile(
    runId: string,
    checkpointId: string,
    path: string | Uint8Array,
    options?: ReadFileOptions,
  ): Promise<Buffer>;
  /** Reads one captured file, blocking. */
  readFileSync(
    runId: string,
    checkpointId: string,
    path: string | Uint8Array,
    options?: ReadFileOptions,
  ): Buffer;

  /**
   * Writes one checkpoint to a file, or (`format: 'folder'`) makes a folder of it. `target` is relative to
   * the working directory. What is exported was held against its hashes; secrets that were withheld are
   * in neither. Also gives `ERR_CHECKPOINT_NOT_FOUND`, `ERR_CHECKPOINT_DAMAGED`, `ERR_PATH_EXISTS`,
   * `ERR_PATH_INVALID`, `ERR_DISK_FULL`, `ERR_NOT_DURABLE`.
   */
  exportCheckpoint(
    runId: string,
    checkpointId: string,
    target: string,
    options: ExportCheckpointOptions & { format: 'folder' },
  ): Promise<ExportFolderOutcome>;
  exportCheckpoint(
    runId: string,
    checkpointId: string,
    target: string,
    options?: ExportCheckpointOptions & { format?: 'archive' },
  ): Promise<ExportOutcome>;
  /** Exports one checkpoint, blocking. */
  exportCheckpointSync(
    runId: string,
    checkpointId: string,
    target: string,
    options: ExportCheckpointOptions & { format: 'folder' },
  ): ExportFolderOutcome;
  exportCheckpointSync(
    runId: string,
    checkpointId: string,
    target: string,
    options?: ExportCheckpointOptions & { format?: 'archive' },
  ): ExportOutcome;

  /**
   * Writes all checkpoints of a run to one file, which shows whether it is whole. Also gives what
   * `exportCheckpoint` gives, and `ERR_NO_CHECKPOINT`, `ERR_NO_GOOD_CHECKPOINT`.
   */
  exportRun(runId: string, target: string, options?: ExportOptions): Promise<ExportOutcome>;
  /** Exports a run, blocking. */
  exportRunSync(runId: string, target: string, options?: ExportOptions): ExportOutcome;

  /**
   * Brings the checkpoints of an archive into the project. Everything in it is checked before anything is
   * written. A run that is not here is made, so that it can be restored at once; to one that is here those
   * that it lacks are added. Also gives `ERR_ARCHIVE_DAMAGED`, `ERR_ARCHIVE_FORMAT`, `ERR_IMPORT_CONFLICT`,
   * `ERR_CHECKPOINT_DAMAGED` (in the archive), `ERR_STORE_BUDGET`, `ERR_STORE_BUSY`,
   * `ERR_RUN_RECORD_DAMAGED`, `ERR_REGISTRY_DAMAGED`, `ERR_PATH_INVALID`.
   */
  importArchive(file: string, options?: ImportOptions): Promise<ImportOutcome>;
  /** Imports an archive, blocking. */
  importArchiveSync(file: string, options?: ImportOptions): ImportOutcome;

  /**
   * Finishes or undoes what a killed restore left behind. Every method that writes begins with
   * this; call it before you read the run's files by yourself.
   */
  recoverSync(runId: string, options?: RecoverOptions): 'nothing' | 'finished' | 'undone';

  /**
   * Wraps work in steps whose results are kept in checkpoints of the run: what was done and recorded is not
   * done again, whatever happens to the process. With a function: gives what it gives; if the task was
   * completed before, that result, and runs nothing. Without: gives the task, to be ended by `complete` or
   * `fail`. See `docs/tasks.md`. Also gives `ERR_STEP_INVALID` (the name), `ERR_TASK_NOT_JSON`,
   * `ERR_TASK_FORMAT`, and what `create` gives.
   */
  task<T>(runId: string, name: Step, fn: (task: Task) => T | Promise<T>): Promise<T>;
  task<T>(
    runId: string,
    name: Step,
    options: TaskOptions | undefined,
    fn: (task: Task) => T | Promise<T>,
  ): Promise<T>;
  task(runId: string, name: Step, options?: TaskOptions): Promise<Task>;

  /**
   * Takes a checkpoint, then runs something risky. If that throws, the run is put back to the checkpoint, if
   * asked for, and the error is thrown on, with what was done about it as `error.waymark`
   * ({@link ErrorNote}). Inside a task use the task's own `guard`.
   */
  guard<T>(
    runId: string,
    name: Step,
    fn: (guard: { checkpointId: string }) => T | Promise<T>,
    options?: GuardOptions,
  ): Promise<T>;

  /**
   * Failures of a run, the decision that it waits for, its workers' breakers, and work by the rules of recovery.
   * `settings` come before those of the manager and the configuration. `docs/supervisor.md`.
   */
  recovery(runId: string, settings?: RecoverySettings): Recovery;

  /**
   * Drives a runner that executes one step per process through all steps of its workflow. Also gives
   * `ERR_WORKFLOW_NOT_FOUND`, `ERR_WORKFLOW_INVALID`, `ERR_WORKFLOW_STEP_MISSING`, `ERR_RUN_STARTED`, `ERR_RUN_STATE`,
   * `ERR_LEASE_HELD`, and what `restore` and `create` give. Whatever a step does wrong is in the report.
   */
  supervise(runId: string, options: SuperviseOptions): Promise<SuperviseReport>;

  /** Automatic checkpoints: taken when enough has happened, at a moment that the runner chooses. */
  auto(runId: string, options: AutoOptions): Auto;

  /**
   * Rehearses on copies of a run, in a folder of their own, what may happen to it: crashes, damage, a lost store or
   * workspace, a full disk, edits by hand. Tells what was survived, how long it took, and what would have been lost.
   * The run itself is only read.
   *
   * Errors: `ERR_DRILL_FOLDER` (no room, or no right, for the copies), `ERR_NO_CHECKPOINT`, `ERR_RUN_NOT_FOUND`,
   * `ERR_OPTION_INVALID`, `ERR_ABORTED`, and those of `exportRun`.
   */
  drill(runId: string, options?: DrillOptions): Promise<DrillResult>;
  /** What happened in a run: steps of tasks, checkpoints, pauses, failures, restores, durations. */
  timeline(runId: string): Promise<Timeline>;

  /**
   * The state of a run, by its record, the runner's and its lease. Nothing is written.
   * @throws {WaymarkError} `ERR_RUN_NOT_FOUND`, `ERR_RECORD_DAMAGED`
   */
  runState(runId: string, options?: RunStateOptions): RunState;
  /**
   * Moves a run to another state; `run.json` gets the runner's word for it, if there is one.
   * @throws {WaymarkError} `ERR_RUN_STATE`, which names both states and the way there
   */
  moveRunState(runId: string, to: RunStateName, options?: MoveRunOptions): RunState;

  /**
   * Asks for a pause at the next step boundary, durably; where nobody is at work the run is paused at once.
   * @throws {WaymarkError} `ERR_RUN_STATE`, `ERR_WORKFLOW_STEP_MISSING`
   */
  pause(runId: string, options?: PauseOptions): PauseResult;
  /** Takes back what was asked for. A run that is paused stays so. */
  withdrawPause(runId: string): { runId: string; withdrawn: boolean };
  /**
   * For a runner of one's own, behind each step: if a pause is due, takes a checkpoint and pauses the run. The runner
   * then stops, with the exit code 75.
   */
  boundary(
    runId: string,
    step: Step,
    state?: unknown,
    options?: BoundaryOptions,
  ): Promise<BoundaryResult>;

  /** What is known of a run: state, progress, who holds it, how it goes on. Marks it if it was cut off. */
  status(runId: string, options?: RunsOptions): Promise<RunStatus>;
  /** The same of all runs, those that changed last first. */
  runs(options?: RunsOptions): Promise<RunStatus[]>;
}

/**
 * A plan or a result for people (Markdown) or programs (JSON): what would be or was restored, verified,
 * kept and why, what nobody decided on, and how much work is left behind.
 *
 * @throws {WaymarkError} `ERR_OPTION_INVALID` for another format
 */
export declare function restoreReport(
  of: RestorePlan | RestoreResult,
  format?: 'markdown' | 'json',
): string;

/** Every error of Waymark. */
export declare class WaymarkError extends Error {
  constructor(code: string, message: string, details?: object);
  /** `WaymarkError`, or `AbortError` for `ERR_ABORTED`. */
  name: string;
  /** The stable code; `docs/errors.md` lists them all. */
  code: string;
  /** The finer reason inside the code, such as `traversal` or `truncated`. */
  reason?: string;
  /** The path concerned. */
  path?: string;
  /** The run concerned. */
  runId?: string;
  /** The checkpoint concerned. */
  checkpointId?: string;
  /** Checkpoints that were passed over. */
  skipped: SkippedCheckpoint[];
  /** Why a run is stale (`ERR_RUN_STALE`). */
  reasons?: ResumeReason[];
  /** What can be done about it. */
  options?: OfferedOption[];
  /** The lease that stands in the way, or that took the place of the caller's. */
  lease?: LeaseInfo;
}

declare const waymark: {
  createCheckpoint: typeof createCheckpoint;
  restoreFromCheckpoint: typeof restoreFromCheckpoint;
  listCheckpoints: typeof listCheckpoints;
  restoreReport: typeof restoreReport;
  CheckpointManager: typeof CheckpointManager;
  WaymarkError: typeof WaymarkError;
};
export default waymark;
