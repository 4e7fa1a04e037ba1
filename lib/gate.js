// The gate: what was is held against what is, and every difference gets a typed reason. Pure: whatever is to
// be known of the world is an argument.

const { WaymarkError } = require('./error.js');
const { isAcceptable, optionsOf, OPTIONS, REASONS, severityOf } = require('./resume-table.js');

/**
 * @typedef {import('../index.js').Environment} Environment
 * @typedef {import('../index.js').ResumeReason} ResumeReason
 * @typedef {import('../index.js').ResumePolicy} ResumePolicy
 * @typedef {import('./resume-table.js').Severity} Severity
 *
 * A difference, before anything is known of how much it matters.
 * @typedef {{ type: string, kind?: string, message: string, details: Record<string, unknown> }} Difference
 *
 * What a checkpoint's world is held against. What the collectors can't say is in `was` and `now` as `{ failed }`.
 * @typedef {object} World
 * @property {Environment | undefined} was the checkpoint's fingerprint
 * @property {Environment} now the same, looked at now
 * @property {{ id: string, step: import('../index.js').Step | null, timestamp: string, partial: number }} checkpoint
 * @property {import('./workflow.js').WorkflowStep[] | undefined} steps
 * @property {number} at now, in milliseconds
 * @property {Difference[]} found what was found besides: of the run's files, its lease, its state
 */

/** @param {unknown} part @returns {string | undefined} why there is nothing to compare */
function failed(part) {
  const why = /** @type {{ failed?: unknown } | null | undefined} */ (part)?.failed;
  return typeof why === 'string' ? why : undefined;
}

/**
 * @param {string} type
 * @param {string | undefined} kind
 * @param {string} message
 * @param {Record<string, unknown>} [details]
 * @returns {Difference}
 */
function difference(type, kind, message, details = {}) {
  return kind === undefined ? { type, message, details } : { type, kind, message, details };
}

/** @param {string[]} names @returns {string} the first of them */
function some(names) {
  const shown = names.slice(0, 3).join(', ');
  return names.length > 3 ? `${shown} and ${names.length - 3} more` : shown;
}

/** @param {string | null | undefined} head */
function short(head) {
  return head ? head.slice(0, 10) : 'no commit';
}

/** @param {any} then @param {any} now @returns {Difference[]} */
function ofGit(then, now) {
  if (now.gone !== undefined) {
    const why = now.gone === 'missing' ? 'is gone' : 'is no git worktree any more';
    const worktree = difference(
      'worktree_deleted',
      undefined,
      `the worktree ${then.worktree} ${why}`,
      { worktree: then.worktree, branch: then.branch, head: then.head, why: now.gone },
    );
    return now.branchThere === false ? [worktree, branchGone(then)] : [worktree];
  }
  /** @type {Difference[]} */
  const found = [];
  if (now.branchThere === false) {
    found.push(branchGone(then));
    // Without its branch all of a worktree looks new.
    if (now.head === null || now.head === undefined) return found;
  }
  if (then.branch !== now.branch && (then.branch !== null || now.branch !== null)) {
    const name = now.branch ?? `no branch (${short(now.head)})`;
    found.push(
      difference(
        'head_moved',
        'branch',
        `the worktree ${then.worktree} is on ${name}, not on ${then.branch ?? short(then.head)}`,
        {
          from: { branch: then.branch, head: then.head },
          to: { branch: now.branch, head: now.head },
        },
      ),
    );
  } else if (then.head !== now.head) {
    const kind = now.moved ?? 'unknown';
    found.push(
      difference(
        'head_moved',
        kind,
        `the worktree ${then.worktree} is at ${short(now.head)}, not at ${short(then.head)}: ${REASONS.head_moved.kinds?.[kind]?.[1]}`,
        {
          from: { branch: then.branch, head: then.head },
          to: { branch: now.branch, head: now.head },
        },
      ),
    );
  }
  return [...found, ...ofDirty(then, now)];
}

/** @param {any} then */
function branchGone(then) {
  return difference('branch_gone', undefined, `the branch ${then.branch} is gone`, {
    branch: then.branch,
    head: then.head,
  });
}

/**
 * Paths that git finds dirty now and did not then; and those that were and are not, unless commits explain them.
 * @param {any} then
 * @param {any} now
 * @returns {Difference[]}
 */
function ofDirty(then, now) {
  /** @param {any[]} list */
  const keys = (list) => new Set(list.map(({ path, status }) => `${status} ${path}`));
  if (then.truncated || now.truncated) {
    const why = 'looking for what is not committed took too long';
    return notKnown('git', then.truncated && { failed: why }, now.truncated && { failed: why });
  }
  const [before, after] = [keys(then.dirty), keys(now.dirty)];
  // Lists are cut behind the same number of paths: as far as both reach they can be compared.
  const ends = [then, now].filter(isCut).map(({ dirty }) => dirty.at(-1)?.path ?? '');
  const isListed = (/** @type {any} */ one) => ends.every((end) => isUpTo(one.path, end));
  const added = now.dirty.filter(
    (/** @type {any} */ one) => isListed(one) && !before.has(`${one.status} ${one.path}`),
  );
  const isSame = then.head === now.head;
  const gone = isSame
    ? then.dirty.filter(
        (/** @type {any} */ one) => isListed(one) && !after.has(`${one.status} ${one.path}`),
      )
    : [];
  const isMore =
    ends.length > 0 &&
    (isSame ? then.dirtyCount !== now.dirtyCount : now.dirtyCount > then.dirtyCount);
  if (added.length + gone.length === 0 && !isMore) return [];
  const words = [
    ...(added.length > 0
      ? [`changed: ${some(added.map((/** @type {any} */ one) => one.path))}`]
      : []),
    ...(gone.length > 0
      ? [`not changed any more: ${some(gone.map((/** @type {any} */ one) => one.path))}`]
      : []),
    ...(isMore ? [`changed: ${now.dirtyCount}, not ${then.dirtyCount}`] : []),
  ];
  return [
    difference('dirty_files', 'uncaptured', `files of ${then.worktree} ${words.join('; ')}`, {
      worktree: then.worktree,
      changed: added,
      gone,
      truncated: ends.length > 0,
    }),
  ];
}

/** More is dirty than is listed. @param {any} git */
function isCut({ dirty, dirtyCount }) {
  return dirtyCount > dirty.length;
}

/** As the core sorts them: by bytes. @param {string} one @param {string} end */
function isUpTo(one, end) {
  return Buffer.compare(Buffer.from(one), Buffer.from(end)) <= 0;
}

/**
 * @param {any} then
 * @param {any} now
 * @param {import('../index.js').Step | null} step the last that was done at the checkpoint; null if none was
 * @returns {Difference[]}
 */
function ofWorkflow(then, now, step) {
  if (then.hash === now.hash) return [];
  const at = { path: now.path, from: then.hash, to: now.hash };
  /** @type {unknown[][]} */
  const [before, after] = [then.steps, now.steps];
  if (JSON.stringify(before) === JSON.stringify(after)) {
    const message = `the workflow file ${now.path} was changed; its steps are the same`;
    return [difference('workflow_changed', 'content', message, at)];
  }
  const upTo = (/** @type {unknown[]} */ list) => list.slice(0, list.indexOf(step) + 1);
  const same = JSON.stringify(upTo(before)) === JSON.stringify(upTo(after));
  const added = after.filter((one) => !before.includes(one));
  const removed = before.filter((one) => !after.includes(one));
  const words = [
    ...(added.length > 0 ? [`added: ${added.join(', ')}`] : []),
    ...(removed.length > 0 ? [`removed: ${removed.join(', ')}`] : []),
    ...(added.length + removed.length === 0 ? ['another order'] : []),
  ];
  const where = step === null || (same && upTo(after).length > 0) ? 'ahead' : 'behind';
  const side = where === 'ahead' ? 'after' : 'up to';
  const which = step === null ? '' : ` ${side} step ${step}`;
  const message = `the steps of the workflow file ${now.path}${which} were changed: ${words.join('; ')}`;
  return [difference('workflow_changed', where, message, { ...at, added, removed })];
}

/** @param {any} then @param {any} now @returns {Difference[]} */
function ofVersions(then, now) {
  /** @type {Difference[]} */
  const found = [];
  const major = (/** @type {string} */ text) => text.split('.')[0];
  if (then.node !== now.node) {
    const kind = major(then.node) === major(now.node) ? 'minor' : 'node';
    const message = `Node is ${now.node}, not ${then.node}`;
    found.push(difference('version_changed', kind, message, { from: then.node, to: now.node }));
  }
  if (then.waymark !== now.waymark) {
    const message = `Waymark is ${now.waymark}, not ${then.waymark}`;
    const details = { from: then.waymark, to: now.waymark };
    found.push(difference('version_changed', 'waymark', message, details));
  }
  for (const name of new Set([...Object.keys(then.locks), ...Object.keys(now.locks)])) {
    const [from, to] = [then.locks[name], now.locks[name]];
    if (from === to) continue;
    const how = to === undefined ? 'is gone' : from === undefined ? 'is new' : 'was changed';
    found.push(
      difference('version_changed', 'lock', `${name} ${how}`, {
        name,
        from: from ?? null,
        to: to ?? null,
      }),
    );
  }
  return found;
}

/** @param {any} then @param {any} now @returns {Difference[]} */
function ofPorts(then, now) {
  return Object.entries(then).flatMap(([name, { port }]) =>
    now[name]?.free === false
      ? [difference('port_in_use', undefined, `port ${port} (${name}) is in use`, { name, port })]
      : [],
  );
}

/**
 * Things by name that are there with a value, or are not (null).
 * @param {string} type
 * @param {string} what
 * @param {any} then
 * @param {any} now
 * @returns {Difference[]}
 */
function ofNamed(type, what, then, now) {
  return Object.entries(then).flatMap(([name, from]) => {
    const to = now[name] ?? null;
    if (JSON.stringify(from) === JSON.stringify(to)) return [];
    const [kind, words] =
      to === null
        ? ['missing', 'is not there any more']
        : from === null
          ? ['added', 'was not there']
          : ['changed', 'was changed'];
    return [difference(type, kind, `${what} ${name} ${words}`, { name, from, to })];
  });
}

/** @param {any} then @param {any} now @returns {Difference[]} */
function ofTools(then, now) {
  return Object.entries(then).flatMap(([name, from]) => {
    const to = now[name] ?? null;
    if (from === null) return [];
    const why = notKnown(name, from, to);
    if (why.length > 0) return why;
    if (to === null) {
      const message = `the tool ${name} is not found any more; it was ${from.path}`;
      return [difference('tool_missing', undefined, message, { name, from })];
    }
    if (from.version === to.version) return [];
    const message = `${name} is ${to.version ?? 'of no known version'}, not ${from.version ?? 'of no known version'}`;
    return [difference('version_changed', 'tool', message, { name, from, to })];
  });
}

/** @param {any} then @param {any} now @returns {Difference[]} */
function ofHost(then, now) {
  if (then.platform !== now.platform || then.arch !== now.arch) {
    const message = `this is ${now.platform} on ${now.arch}, not ${then.platform} on ${then.arch}`;
    return [difference('host_changed', 'platform', message, { from: then, to: now })];
  }
  if (then.name === now.name) return [];
  const message = `this is the host ${now.name}, not ${then.name}`;
  return [difference('host_changed', 'name', message, { from: then, to: now })];
}

/** @param {any} then @param {any} now @returns {Difference[]} */
function ofCustom(then, now) {
  return Object.entries(then).flatMap(([name, from]) => {
    const why = notKnown(name, from, now[name] ?? { failed: 'it is not there any more' });
    if (why.length > 0) return why;
    if (JSON.stringify(from) === JSON.stringify(now[name])) return [];
    const message = `what the collector ${name} tells has changed`;
    return [difference('custom_changed', undefined, message, { name, from, to: now[name] })];
  });
}

/** @param {string} name @param {unknown} then @param {unknown} now @returns {Difference[]} */
function notKnown(name, then, now) {
  const [before, after] = [failed(then), failed(now)];
  if (before !== undefined) {
    const message = `${name} could not be told when the checkpoint was taken: ${before}`;
    return [difference('not_known', 'before', message, { name, why: before })];
  }
  if (after === undefined) return [];
  const message = `${name} can't be told now: ${after}`;
  return [difference('not_known', 'now', message, { name, why: after })];
}

/** How each part of a fingerprint is compared. */
const PARTS = /** @type {const} */ ({
  git: ofGit,
  workflow: ofWorkflow,
  versions: ofVersions,
  ports: ofPorts,
  variables: (/** @type {any} */ then, /** @type {any} */ now) =>
    ofNamed('variable_changed', 'the environment variable', then, now),
  tools: ofTools,
  files: (/** @type {any} */ then, /** @type {any} */ now) =>
    ofNamed('file_changed', 'the file', then, now),
  host: ofHost,
  custom: ofCustom,
});

/**
 * Every difference between a checkpoint's world and the one there is.
 * @param {World} world
 * @param {ResumePolicy & { maxAgeMs?: number }} policy
 * @returns {Difference[]}
 */
function compare({ was: then, now, checkpoint, steps, at, found }, policy) {
  const all = [...found];
  if (then === undefined) {
    const message = `${checkpoint.id} has no fingerprint of its environment`;
    all.push(difference('not_known', 'fingerprint', message));
  }
  const isMissing =
    steps !== undefined &&
    checkpoint.step !== null &&
    !steps.some(({ step }) => step === checkpoint.step);
  for (const [name, ofPart] of Object.entries(PARTS)) {
    // That its step is gone says more than that the file was changed.
    if (name === 'workflow' && isMissing) continue;
    const part = name in (then ?? {}) ? /** @type {any} */ (then)[name] : undefined;
    const present = /** @type {any} */ (now)[name];
    if (part === undefined || part === null) continue;
    const why = notKnown(name, part, present);
    if (why.length > 0) all.push(...why);
    else if (present) all.push(...compared(name, ofPart, part, present, checkpoint.step));
  }
  if (isMissing) {
    all.push(
      difference(
        'step_missing',
        undefined,
        `the checkpoint was taken after step ${checkpoint.step}, which the workflow file does not list (it lists ${steps.map(({ step }) => step).join(', ')})`,
        { step: checkpoint.step, steps: steps.map(({ step }) => step) },
      ),
    );
  }
  all.push(...ofAge(checkpoint, then, at, policy.maxAgeMs));
  if (checkpoint.partial > 0) {
    const message = `${checkpoint.partial} files could not be captured with ${checkpoint.id}`;
    all.push(difference('checkpoint_partial', undefined, message, { count: checkpoint.partial }));
  }
  return all;
}

/**
 * @param {string} name
 * @param {(then: any, now: any, step: import('../index.js').Step | null) => Difference[]} ofPart
 * @param {unknown} then
 * @param {unknown} now
 * @param {import('../index.js').Step | null} step
 */
function compared(name, ofPart, then, now, step) {
  try {
    return ofPart(then, now, step);
  } catch (error) {
    // Somebody else's fingerprint may look like ours and not be one.
    const why = `it is not as it should be (${/** @type {Error} */ (error).message})`;
    return notKnown(name, { failed: why }, undefined);
  }
}

/**
 * @param {World['checkpoint']} checkpoint
 * @param {Environment | undefined} then
 * @param {number} at
 * @param {number | undefined} maxAgeMs
 * @returns {Difference[]}
 */
function ofAge({ id, timestamp }, then, at, maxAgeMs) {
  const age = at - Date.parse(timestamp);
  // A minute is what two clocks may differ by.
  if (age < -60_000) {
    const message = `${id} was taken at ${timestamp}, which is in the future: a clock was set back`;
    return [difference('expired', 'future', message, { timestamp })];
  }
  const expires = then?.expires;
  if (typeof expires === 'string' && at > Date.parse(expires)) {
    return [difference('expired', 'age', `${id} was to be used until ${expires}`, { expires })];
  }
  if (maxAgeMs === undefined || age <= maxAgeMs) return [];
  const message = `${id} was taken at ${timestamp}, longer ago than it may be`;
  return [difference('expired', 'age', message, { timestamp, maxAgeMs })];
}

/**
 * What is accepted: types, and types with a kind (`head_moved.ahead`).
 * @param {readonly string[]} accept
 * @returns {ReadonlySet<string>}
 */
function checkAccept(accept) {
  for (const name of accept) {
    const [type, kind, ...more] = name.split('.');
    const row = Object.hasOwn(REASONS, type) ? REASONS[type] : undefined;
    const isKnown = row && (kind === undefined || (row.kinds && Object.hasOwn(row.kinds, kind)));
    if (!isKnown || more.length > 0) {
      throw new WaymarkError(
        'ERR_OPTION_INVALID',
        `accept: ${JSON.stringify(name)} is no reason; reasons are ${Object.keys(REASONS).join(', ')}`,
      );
    }
    if (!isAcceptable(type, kind)) {
      throw new WaymarkError(
        'ERR_OPTION_INVALID',
        `accept: ${name} can't be accepted; what can be done is ${optionsOf(type, kind).join(', ')}`,
      );
    }
  }
  return new Set(accept);
}

/**
 * What is wrong with a policy; undefined if nothing is.
 * @param {any} value
 * @returns {string | undefined}
 */
function policyProblem(value) {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return 'resume.policy must be an object';
  }
  for (const [name, one] of Object.entries(value)) {
    if (name === 'maxAge') {
      if (typeof one !== 'string') return 'resume.policy.maxAge must be a span such as "14d"';
      continue;
    }
    const [type, kind, ...more] = name.split('.');
    const row = Object.hasOwn(REASONS, type) ? REASONS[type] : undefined;
    const known = row && more.length === 0;
    if (!known || (kind !== undefined && !Object.hasOwn(row.kinds ?? {}, kind))) {
      return `resume.policy: ${JSON.stringify(name)} is no reason; reasons are maxAge, ${Object.keys(REASONS).join(', ')}`;
    }
    if (!['ignore', 'note', 'change', 'stale'].includes(/** @type {string} */ (one))) {
      return `resume.policy.${name} must be "ignore", "note", "change" or "stale"`;
    }
    if (one !== 'stale' && !isAcceptable(type, kind)) {
      return `resume.policy.${name} can't be anything but "stale": the run could not go on`;
    }
  }
  return undefined;
}

/**
 * Weighs differences: what each of them means, and what all of them come to.
 * @param {Difference[]} differences
 * @param {ResumePolicy} policy
 * @param {ReadonlySet<string>} accepted
 * @returns {{ verdict: import('../index.js').ResumeVerdict, reasons: ResumeReason[] }}
 */
function weigh(differences, policy, accepted) {
  /** @type {ResumeReason[]} */
  const reasons = [];
  for (const one of differences) {
    const { type, kind } = one;
    const named = /** @type {Record<string, any>} */ (policy);
    const final = !isAcceptable(type, kind);
    const severity = final
      ? 'stale'
      : (named[`${type}.${kind}`] ?? named[type] ?? severityOf(type, kind));
    if (severity === 'ignore') continue;
    const isAccepted = !final && (accepted.has(type) || accepted.has(`${type}.${kind}`));
    reasons.push({ ...one, severity, accepted: isAccepted, options: optionsOf(type, kind) });
  }
  const order = { stale: 0, change: 1, note: 2 };
  reasons.sort((one, other) => order[one.severity] - order[other.severity]);
  const open = reasons.filter(({ accepted: done }) => !done);
  const verdict = open.some(({ severity }) => severity === 'stale')
    ? 'stale'
    : reasons.some(({ severity }) => severity !== 'note')
      ? 'ready-with-changes'
      : 'ready';
  return { verdict, reasons };
}

/**
 * The options that a plan offers: what resolves a reason that is not settled.
 * @param {ResumeReason[]} reasons
 * @returns {import('../index.js').OfferedOption[]}
 */
function offered(reasons) {
  /** @type {Map<string, string[]>} */
  const found = new Map();
  for (const { type, severity, accepted, options } of reasons) {
    if (accepted || severity === 'note') continue;
    for (const option of options) {
      const types = found.get(option) ?? [];
      if (!types.includes(type)) found.set(option, [...types, type]);
    }
  }
  return Object.entries(OPTIONS).flatMap(([option, { about, value }]) => {
    const resolves = found.get(option);
    return resolves ? [{ option, resolves, about, ...(value === undefined ? {} : { value }) }] : [];
  });
}

module.exports = { checkAccept, compare, difference, offered, policyProblem, some, weigh };
